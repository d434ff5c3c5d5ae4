"""A set of images in the file formats and sizes that they came with, after GenImage's pattern, from the toy benchmark.

GenImage's photographs are JPEG files of many sizes, its generated images PNG files of one. Here the photographs are
squares of them at their own resolution: what a tile shows was 64 … 128 px wide there before it was shrunk to 64 px.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from cache_schema import Dataset, decode_image, new_opened, source_path, write_bytes
from demo.toy.crops import SHORT_SIDES_PX, list_photographs
from demo.toy.photos import TILE_PX
from demo.toy.sources import REAL
from experiments.study.image_sets import read_samples

MANIFEST = "manifest.parquet"
SUBSET = "raw"
SPLIT_FOLDERS = {"train": "train", "validation": "train", "test": "val"}
"""GenImage's own: its `val` is the test."""
QUALITIES = (75, 95)
COMMON_QUALITY = 96
"""JPEG quality of every other photograph: the commonest of ImageNet's, as the other half is spread over `QUALITIES`."""


def make_raw_set(data: Path, photos: Path, folder: Path) -> None:
    """Write the files and a manifest of them, which packing reads as layout `table`.

    For each photo tile of a dataset a square of its photograph, and all its generated images, bytes as they are. All
    keep their split, group and class; they are one subset, in which every image source meets the photographs.

    Args:
        data: Dataset of the toy benchmark. The group of a photo tile is the name of its photograph.
        photos: Folder of the photographs that it was made from.
        folder: New folder.

    Raises:
        ValueError: If the dataset has no photo tiles, or the folder lacks one of their photographs.
    """
    dataset, files = Dataset.open(data), list_photographs(photos)
    rows = dataset.table(["key", "image_source", "group", "split", "class_name"]).to_pylist()
    tiles = [row for row in rows if row["image_source"] == REAL]
    unknown = sorted({row["group"] for row in tiles} - files.keys())
    if unknown or not tiles:
        raise ValueError(
            f"photos is {photos}: {len(unknown)} of the photographs behind the {len(tiles)} photo tiles of {data} are "
            f"not there ({', '.join(unknown[:1])}). Name the folder that the dataset was made from."
        )
    listed = []
    for row in tqdm(tiles, desc="photographs", disable=None):
        square, quality = cut_square(np.asarray(decode_image(files[row["group"]].read_bytes())), row["key"])
        path = _place(row["split"], "nature", PurePosixPath(source_path(row["key"])).with_suffix(".jpg"))
        encoded = io.BytesIO()
        Image.fromarray(square).save(encoded, "JPEG", quality=quality)
        write_bytes(folder / path, encoded.getvalue(), durable=False)
        listed.append(_describe(path, 0, REAL, row))
    index = dataset.table(["key", "label"])
    generated = index.filter(pc.equal(index["label"], 1))["key"].to_pylist()
    for sample in read_samples(dataset, set(generated)):
        path = _place(sample.fields.split, "ai", PurePosixPath(source_path(sample.key)))
        write_bytes(folder / path, sample.image, durable=False)
        listed.append(_describe(path, 1, sample.fields.image_source, asdict(sample.fields)))
    with new_opened(folder / MANIFEST) as file:
        pq.write_table(pa.Table.from_pylist(listed), file)


def cut_square(pixels: np.ndarray, name: str) -> tuple[np.ndarray, int]:
    """A square of a photograph as large as what a tile shows of it, at a random place, and a JPEG quality for it.

    Args:
        pixels: (height, width, 3), uint8.
        name: Decides scale, place and quality.

    Returns:
        (side, side, 3), uint8, and the quality.
    """
    rng = np.random.default_rng(list(hashlib.sha256(f"raw-square|{name}".encode()).digest()))
    smallest, largest = SHORT_SIDES_PX
    short_side_px = smallest * (largest / smallest) ** rng.random()
    side = round(min(pixels.shape[:2]) * TILE_PX / short_side_px)
    top, left = (int(rng.integers(0, size - side + 1)) for size in pixels.shape[:2])
    quality = COMMON_QUALITY if rng.random() < 0.5 else int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
    return np.ascontiguousarray(pixels[top : top + side, left : left + side]), quality


def _place(split: str, kind: str, path: PurePosixPath) -> str:
    return f"{SUBSET}/imagenet_toy/{SPLIT_FOLDERS[split]}/{kind}/{path}"


def _describe(path: str, label: int, image_source: str, row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("split", "group", "class_name")}
    return {"path": path, "label": label, "image_source": image_source, "subset": SUBSET, **kept}
