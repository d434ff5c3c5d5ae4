"""Datasets made of another's images: some of them, several copies of each, each with other pixels."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from cache_schema import EXTENSIONS, SPLITS, Dataset, Sample, SampleFields, read_image_bytes, write_dataset
from demo.toy.sources import encode_png
from experiments.study.over_sources import keep_samples
from train.scoring.scores import Reading

MAX_ROWS = 1024
"""Samples a tar."""


def choose_groups(groups: Sequence[str], limit: int | None) -> set[str]:
    """Whole groups, in the order of their hash, as long as they have no more than `limit` images together.

    Args:
        groups: Group of each image.
        limit: None: all of them.

    Raises:
        ValueError: If the first group alone has more images.
    """
    sizes = Counter(groups)
    if limit is None:
        return set(sizes)
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"image-set|{group}".encode()).digest())
    fitting = int(np.searchsorted(np.cumsum([sizes[group] for group in order]), limit, side="right"))
    if not fitting:
        raise ValueError(f"at most {limit} images: a group of {sizes[order[0]]} images does not fit")
    return set(order[:fitting])


def read_samples(dataset: Dataset, keys: set[str] | None = None) -> Iterator[Sample]:
    """The samples of a dataset as they are packed, in its order.

    Args:
        dataset: Where they are.
        keys: Which of them; None: all.
    """
    for n in range(len(dataset.tars)):
        for row in dataset.rows(n).to_pylist():
            if keys is None or row["key"] in keys:
                data = read_image_bytes(dataset.tar_path(n), row["offset"], row["size"])
                fields = SampleFields(**{name: row[name] for name in SampleFields.__dataclass_fields__})
                yield Sample(row["key"], EXTENSIONS[row["format"]], data, fields)


def with_pixels(sample: Sample, key: str, pixels: np.ndarray) -> Sample:
    """A sample under another key and with other pixels, (h, w, 3) uint8, as PNG."""
    data = encode_png(pixels)
    about = {"width": pixels.shape[1], "height": pixels.shape[0], "format": "PNG", "jpeg_quality": None}
    fields = replace(sample.fields, sha256=hashlib.sha256(data).hexdigest(), **about)
    return Sample(key, "png", data, fields)


def write_some_images(data: Path, folder: Path, limit: int | None, splits: Sequence[str] = SPLITS) -> Dataset:
    """Write the labelled images of some groups, and the photographs they were made from, as they are packed.

    Args:
        data: Dataset folder.
        folder: New dataset folder.
        limit: As of `choose_groups`, for the labelled images of all splits together.
        splits: Whose images.
    """
    dataset = Dataset.open(data)
    rows = dataset.table(["key", "label", "split", "group", "derived_from"]).to_pylist()
    known = [row for row in rows if row["split"] in splits and row["label"] is not None]
    groups = choose_groups([row["group"] for row in known], limit)
    chosen = [row for row in known if row["group"] in groups]
    keys = {row["key"] for row in chosen} | {row["derived_from"] for row in chosen}
    settings = {"images_of": dataset.dataset_id, "splits": list(splits), "max_images": limit}
    return write_dataset(folder, read_samples(dataset, keys), settings, max_rows=MAX_ROWS)


def unite(folders: Mapping[str, Path], folder: Path) -> Dataset:
    """Write several datasets as one, so that one run of a stage does for all: keys begin with "<name>/" there.

    Args:
        folders: Name → dataset folder.
        folder: New folder.
    """

    def samples() -> Iterator[Sample]:
        for name, source in folders.items():
            for sample in read_samples(Dataset.open(source)):
                photograph = sample.fields.derived_from
                fields = replace(sample.fields, derived_from=photograph and f"{name}/{photograph}")
                yield replace(sample, key=f"{name}/{sample.key}", fields=fields)

    return write_dataset(folder, samples(), {"united": list(folders)}, max_rows=MAX_ROWS)


def divide(reading: Reading, names: Sequence[str]) -> dict[str, Reading]:
    """Name → the part of a reading whose samples `unite` took from there, keys as they were before."""
    keys, parts = np.array(reading.table["key"].to_pylist()), {}
    for name in names:
        part = keep_samples(reading, np.char.startswith(keys, f"{name}/"))
        plain = pa.array([key.removeprefix(f"{name}/") for key in part.table["key"].to_pylist()], pa.string())
        table = part.table.set_column(part.table.schema.get_field_index("key"), "key", plain)
        parts[name] = replace(part, table=table)
    return parts
