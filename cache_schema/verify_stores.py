"""Whether one store is what it says, of maps or of canvases: read whole, joined with its tar, its rows counted."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from cache_schema.cache import Cache
from cache_schema.canvases import CanvasStore, open_canvases
from cache_schema.dataset_file import TarEntry
from cache_schema.errors import CacheError, ShardMissing
from cache_schema.images import ImageRejected, decode_image, resize_canvas
from cache_schema.joining import check_join
from cache_schema.keys import store_name
from cache_schema.report import state_of
from cache_schema.status import Status, is_ok
from cache_schema.store import FULL_MANTISSA_BITS, ShardData, round_mantissa

MAX_LINES = 20
"""Problems of one kind that are told of a tar; the others are counted."""
Store = ShardData | CanvasStore


def check_store(cache: Cache, rows: pa.Table, entry: TarEntry) -> tuple[Store | None, str, list[str]]:
    """The store of a tar if it could be read, its state, and what is wrong with it.

    Args:
        cache: Of maps or of canvases.
        rows: Index rows of the tar.
        entry: The tar in dataset.json.
    """
    name = store_name(entry.name)
    try:
        store = open_canvases(cache, name, entry.num_rows) if cache.has_canvases else cache.read(name, entry.num_rows)
    except ShardMissing:
        return None, "missing", [f"{cache.path(name)} is missing. Extract this tar."]
    except CacheError as error:
        return None, state_of(error), [str(error)]
    try:
        check_join(store, rows, entry)
        problems = _check_rows(store, entry)
        problems += _check_canvases(store) if isinstance(store, CanvasStore) else _check_maps(store, cache)
    except CacheError as error:
        return store, state_of(error), [str(error)]
    return store, "damaged" if problems else "done", problems


def limit_lines(lines: Sequence[str]) -> list[str]:
    """The first lines about one kind of problem, and how many more there are."""
    rest = len(lines) - MAX_LINES
    return [*lines[:MAX_LINES], *([f"… and {rest:,} more rows like this"] if rest > 0 else [])]


def _check_rows(store: Store, entry: TarEntry) -> list[str]:
    """What an intact file may still say wrongly of its rows: a writer's error, not the disk's."""
    attributes, problems = store.attributes, []
    if attributes.get("tar") != entry.name:
        problems.append(f"the store says that it belongs to {attributes.get('tar')!r}")
    known = {int(status) for status in Status}
    statuses, counts = np.unique(store.status, return_counts=True)
    if unknown := sorted(set(statuses.tolist()) - known):
        return [*problems, f"the store has unknown statuses {unknown}"]
    found = {Status(s).name.lower(): int(c) for s, c in zip(statuses, counts, strict=True)}
    if found != attributes.get("counts"):
        problems.append(f"the store's rows count as {found}, its attributes say {attributes.get('counts')}")
    rejected = np.flatnonzero(~is_ok(store.status))
    reasons = attributes.get("reasons", {})
    if set(reasons) != {str(row) for row in rejected}:
        problems.append(f"{len(rejected)} rows are rejected, {len(reasons)} have a reason, and they are not the same")
    return problems


def _check_maps(shard: ShardData, cache: Cache) -> list[str]:
    with_map = [int(row) for row in np.flatnonzero(~is_ok(shard.status)) if not np.isnan(shard.lare[row]).all()]
    problems = limit_lines([f"row {row} ({shard.keys[row]}) is rejected, but has a map" for row in with_map])
    dtype = str(cache.fields.get("stored_dtype", shard.lare.dtype))
    bits = int(cache.fields.get("mantissa_bits", FULL_MANTISSA_BITS[dtype]))
    if shard.lare.dtype != dtype:
        problems.append(f"the maps are {shard.lare.dtype}, the settings say {dtype}")
    elif not np.array_equal(round_mantissa(shard.lare.astype(np.float32), dtype, bits), shard.lare, equal_nan=True):
        problems.append(f"the maps have more than the {bits} mantissa bits of the settings")
    return problems


def _check_canvases(store: CanvasStore) -> list[str]:
    """Every canvas is read, so that its checksum is compared."""
    with_canvas = [row for row, status in enumerate(store.status) if store.read(row).any() and not is_ok(int(status))]
    return limit_lines([f"row {row} ({store.keys[row]}) is rejected, but has a canvas" for row in with_canvas])


def compare_canvases(tar: BinaryIO, rows: pa.Table, store: CanvasStore) -> Iterator[str]:
    """A line for each row whose canvas is not what its image in the tar decodes to.

    Args:
        tar: The open tar.
        rows: Its index rows.
        store: Its canvases, joined with the rows.
    """
    columns = (rows[name].to_pylist() for name in ("key", "offset", "size"))
    for row, (key, offset, size) in enumerate(zip(*columns, strict=True)):
        tar.seek(offset)
        try:
            canvas = resize_canvas(decode_image(tar.read(size)), store.size_px)
        except ImageRejected as rejection:
            if is_ok(int(store.status[row])):
                yield f"row {row} ({key}): has a canvas, and its image cannot be used ({rejection.reason})"
            continue
        if not is_ok(int(store.status[row])):
            yield f"row {row} ({key}): has no canvas, and its image can be used"
        elif not np.array_equal(canvas, store.read(row)):
            yield f"row {row} ({key}): the canvas has other pixels than the image"
