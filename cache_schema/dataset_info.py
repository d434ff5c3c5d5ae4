"""A dataset folder, or a folder of datasets and caches, told for people."""

from typing import Any

from cache_schema.addresses import Place
from cache_schema.cache import MANIFEST, open_cache
from cache_schema.contents import MAX_NAME, align, contents_table, count_images
from cache_schema.errors import CacheError
from cache_schema.index import Dataset
from cache_schema.listing import list_names, map_files
from cache_schema.reasons import commonest_reasons
from cache_schema.rejected import read_rejected
from cache_schema.shown import MAX_SENTENCE, shown

DATASET_MANIFEST = "dataset.json"
MAX_VARIANTS = 100
"""Folders of a folder that are listed."""
_FROM = {
    "folders": "folders, one an image source",
    "genimage": "a tree of GenImage's layout",
    "annotation": "an annotation file",
    "table": "a table",
    "dataset": "a packed dataset",
}
"""Layout of the source → what it is."""
_TOLD = ("method", "timestep", "sigma", "ensemble_size", "image_size")
"""Fields of a fingerprint that most caches of a folder differ in."""
Rows = list[tuple[str, str]]


def dataset_rows(folder: Place) -> Rows:
    """Name and value of what a dataset folder is, where it came from, and what was left out.

    Raises:
        DatasetError: If it cannot be read.
    """
    dataset = Dataset.open(folder)
    num_images, num_bytes = sum(t.num_rows for t in dataset.tars), sum(t.num_bytes for t in dataset.tars)
    layout = str(dataset.settings.get("layout", "unknown"))
    rows = [
        ("dataset", str(folder)),
        ("dataset id", dataset.dataset_id),
        ("packed from", _FROM.get(layout, layout)),
        ("images are", copies_of(dataset)),
        *[(f"  {name}", str(value)) for name, value in sorted(dataset.settings.items()) if value is not None],
        ("tars", f"{len(dataset.tars):,}"),
        ("images", f"{num_images:,}"),
        ("bytes of tars", f"{num_bytes:,} ({num_bytes / max(1, num_images):,.0f} an image)"),
    ]
    if dataset.updated:
        rows.append(("updated since", ", ".join(dataset.updated)))
    return rows + _rejected_rows(folder)


def describe_dataset(folder: Place) -> tuple[Rows, str]:
    """`dataset_rows`, and the table of what a dataset holds.

    Raises:
        DatasetError: If it cannot be read.
    """
    return dataset_rows(folder), contents_table(count_images(Dataset.open(folder)))


def copies_of(dataset: Dataset) -> str:
    """Whether a dataset has the original bytes, or which copies."""
    settings: dict[str, Any] = {name: dataset.settings.get(name) for name in ("match", "degrade")}
    copies = [f"--{name} {value}" for name, value in settings.items() if value]
    return f"copies made by {', '.join(copies)}" if copies else "the files as they were, byte for byte"


def _rejected_rows(folder: Place) -> Rows:
    rejected = read_rejected(folder / "rejected.csv")
    if rejected is None:
        return []
    rows = [("files left out", f"{len(rejected):,}" + (", listed in rejected.csv" if len(rejected) else ""))]
    return rows + [("", line) for line in commonest_reasons(rejected)]


def describe_variants(folder: Place) -> str | None:
    """A line for each dataset and cache that lies directly in a folder, then what is wrong; None if there is none."""
    names = [name for name in list_names(folder) if not name.startswith(".") and (folder / name).is_dir()]
    found = [name for name in names if any((folder / name / file).is_file() for file in (DATASET_MANIFEST, MANIFEST))]
    if not found:
        return None
    rows: list[tuple[str, ...]] = [("folder", "holds", "what", "tars", "images")]
    ends = []
    for name in found[:MAX_VARIANTS]:
        is_dataset = (folder / name / DATASET_MANIFEST).is_file()
        try:
            row = _dataset_row(folder / name) if is_dataset else _cache_row(folder / name)
        except CacheError as error:
            row = ("dataset" if is_dataset else "cache", "cannot be read, see below", "", "")
            ends.append(f"{shown(name, MAX_NAME)}: {shown(str(error), MAX_SENTENCE)}\n")
        rows.append((shown(name, MAX_NAME), *row))
    if len(found) > MAX_VARIANTS:
        ends.insert(0, f"… and {len(found) - MAX_VARIANTS:,} more\n")
    return align(rows, num_texts=3) + "".join(ends)


def _dataset_row(folder: Place) -> tuple[str, str, str, str]:
    dataset = Dataset.open(folder)
    num_images = sum(tar.num_rows for tar in dataset.tars)
    return "dataset", copies_of(dataset), f"{len(dataset.tars):,}", f"{num_images:,}"


def _cache_row(folder: Place) -> tuple[str, str, str, str]:
    cache = open_cache(folder)
    what = ", ".join(f"{name} {cache.fields[name]}" for name in _TOLD if name in cache.fields)
    names = cache.shards()

    def count(name: str) -> int:
        try:
            return sum(cache.attributes(name)["counts"].values())
        except (CacheError, KeyError, TypeError, ValueError):
            return 0

    num_images = sum(map_files(count, names, folder))
    return "cache", shown(what), f"{len(names):,}", f"{num_images:,}"
