"""A store, a cache folder, a dataset folder, or a folder of such, told for people."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cache_schema.addresses import Place, place
from cache_schema.cache import MANIFEST, Cache, open_cache
from cache_schema.canvases import CanvasStore, open_canvases
from cache_schema.dataset_info import DATASET_MANIFEST, Rows, describe_dataset, describe_variants
from cache_schema.errors import CacheError, ShardMissing
from cache_schema.layout import CANVASES, MAPS
from cache_schema.listing import file_size, list_files, map_files
from cache_schema.shown import MAX_SENTENCE, shown
from cache_schema.status import is_ok
from cache_schema.store import ShardData, read_array_layouts, read_store

MAX_REASONS = 5
Store = ShardData | CanvasStore


def describe(path: str | Place) -> str:
    """Text about a store file, a cache folder and its first store, a dataset folder, or a folder of such folders.

    Raises:
        CacheError: If it is none of them, or cannot be read.
    """
    path = place(path)
    if (path / DATASET_MANIFEST).is_file():
        rows, table = describe_dataset(path)
        return f"{_table(rows)}\n{table}"
    if path.is_dir() and not (path / MANIFEST).exists():
        text = describe_variants(path)
        if text is None:
            raise CacheError(
                f"{path} is no cache and no dataset: expected {MANIFEST} or {DATASET_MANIFEST} in it, or in the "
                "folders below it."
            )
        return text
    if path.is_dir():
        cache = open_cache(path)
        names = cache.shards()
        text = _table(_cache_rows(cache) + _files_rows(cache, names))
        return text + (f"\nfirst store\n{_table(_store_rows(path / names[0], cache))}" if names else "")
    cache_of_store = open_cache(path.parent) if (path.parent / MANIFEST).exists() else None
    fields = _cache_rows(cache_of_store) if cache_of_store else []
    return _table(fields + _store_rows(path, cache_of_store))


def _table(rows: Rows) -> str:
    lines = [(shown(name), shown(value, MAX_SENTENCE)) for name, value in rows]
    width = max(len(name) for name, _ in lines)
    return "".join(f"{name:{width}}  {value}\n" for name, value in lines)


def _cache_rows(cache: Cache) -> Rows:
    rows = [("cache", str(cache.folder)), ("dataset id", cache.dataset_id), ("fingerprint", cache.fingerprint)]
    return rows + [(f"  {name}", str(value)) for name, value in sorted(cache.fields.items())]


def _files_rows(cache: Cache, names: Sequence[str]) -> Rows:
    """Stores, rows and bytes of a whole folder, from attributes and file sizes alone."""
    counts: Counter[str] = Counter()
    num_bytes = num_damaged = num_stores = 0

    def count(name: str) -> dict[str, int] | None:
        try:
            return dict(cache.attributes(name)["counts"])
        except (CacheError, KeyError, TypeError, ValueError):
            return None

    sizes = {each.name: each.num_bytes for each in list_files(cache.folder)}
    for name, counted in zip(names, map_files(count, names, cache.folder), strict=True):
        if counted is None:
            num_damaged += 1
            continue
        counts.update(counted)
        num_stores += 1
        num_bytes += sizes.get(name, 0)
    of = "a canvas" if cache.has_canvases else "a map"
    unusable = f", {num_damaged} that cannot be used (see verify)" if num_damaged else ""
    return [
        ("stores", f"{num_stores:,}{unusable}"),
        ("rows", f"{counts.total():,} ({_counts(counts)})"),
        ("bytes on disk", f"{num_bytes:,} ({num_bytes / max(1, counts.total()):,.0f} {of})"),
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{status} {count:,}" for status, count in sorted(counts.items())) or "none"


def _store_rows(path: Place, cache: Cache | None) -> Rows:
    if not path.is_file():
        raise ShardMissing(f"{path} is no store, no cache folder and no dataset folder.")
    if cache and cache.has_canvases:
        return _canvas_rows(path, cache)
    shard = cache.read(path.name) if cache else read_store(path)
    raw = shard.lare.nbytes / max(1, len(shard.keys))
    return [*_stored_rows(path, shard, MAPS, raw), *_values_rows(shard), *_end_rows(shard)]


def _canvas_rows(path: Place, cache: Cache) -> Rows:
    store = open_canvases(cache, path.name)
    store.close()
    return [*_stored_rows(path, store, CANVASES, 3 * store.size_px**2), *_end_rows(store)]


def _stored_rows(path: Place, store: Store, content: str, raw_bytes: float) -> Rows:
    """What a store is, and how large.

    Args:
        path: Its file.
        store: Read, or open.
        content: `MAPS` or `CANVASES`.
        raw_bytes: Of a row that is not compressed.
    """
    attributes, num_bytes, num_rows = store.attributes, file_size(path) or 0, max(1, len(store.keys))
    what = "map" if content == MAPS else "canvas"
    return [
        ("store", str(path)),
        ("format version", str(attributes["format_version"])),
        ("fingerprint", str(attributes["fingerprint"])),
        ("tar", str(attributes.get("tar"))),
        ("rows", f"{len(store.keys):,} ({_counts(attributes['counts'])})"),
        *_array_rows(path, content),
        ("bytes on disk", f"{num_bytes:,} ({num_bytes / num_rows:,.0f} a {what}, {raw_bytes:,.0f} raw)"),
        ("ratio to raw", f"{num_bytes / num_rows / max(1, raw_bytes):.3f}"),
    ]


def _end_rows(store: Store) -> Rows:
    rows, attributes = _reason_rows(store), store.attributes
    known = {"format_version", "fingerprint", "tar", "counts", "reasons"}
    return rows + [row for name, value in attributes.items() if name not in known for row in _nested(name, value)]


def _array_rows(path: Place, content: str) -> Rows:
    rows = []
    for name, layout in sorted(read_array_layouts(path, content).items()):
        codecs = " → ".join(_codec(codec) for codec in layout.codecs)
        text = f"{_shape(layout.shape)} {layout.data_type}, chunks {_shape(layout.chunks)}, {codecs}"
        rows.append((f"array {name}", text))
    return rows


def _shape(sizes: Iterable[int]) -> str:
    return "×".join(str(size) for size in sizes)


def _codec(codec: Mapping[str, Any]) -> str:
    settings = codec.get("configuration", {})
    names = ("cname", "clevel", "level", "shuffle", "order")
    shown = " ".join(str(settings[name]) for name in names if name in settings)
    return f"{codec['name']}({shown})" if shown else str(codec["name"])


def _values_rows(shard: ShardData) -> Rows:
    maps = shard.lare[is_ok(shard.status)]
    if not maps.size:
        return [("values", "no map that is ok")]
    mean = maps.mean(dtype=np.float64)
    of_maps = maps.mean(axis=(1, 2, 3), dtype=np.float64)
    return [
        ("values", f"min {maps.min():.4g}, mean {mean:.4g}, max {maps.max():.4g}"),
        ("mean of a map", f"min {of_maps.min():.4g}, max {of_maps.max():.4g}"),
    ]


def _reason_rows(shard: Store) -> Rows:
    reasons = shard.attributes.get("reasons", {})
    first = sorted(reasons.items(), key=lambda item: int(item[0]))[:MAX_REASONS]
    rows = [(f"rejected row {row}", f"{shard.keys[int(row)]}: {reason}") for row, reason in first]
    return rows + ([("", f"and {len(reasons) - MAX_REASONS:,} more")] if len(reasons) > MAX_REASONS else [])


def _nested(name: str, value: Any, indent: str = "") -> Rows:
    """A JSON value as rows, its parts indented below it."""
    if isinstance(value, dict) and value:
        parts = [row for part, inner in value.items() for row in _nested(str(part), inner, indent + "  ")]
        return [(indent + name, ""), *parts]
    return [(indent + name, str(value))]
