"""What the images of a dataset's tars look like, and those of different splits that look alike: for a deep `verify`."""

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from cache_schema.errors import CacheError
from cache_schema.images import ImageRejected, decode_image
from cache_schema.index import Dataset
from cache_schema.near_duplicates import NO_HASH, Hashes, find_near_duplicates, perceptual_hash
from cache_schema.shown import shown

MAX_HASHED_BYTES = 2**26
"""Larger files are not compared: they would be read into the memory whole."""
MAX_ALIKE = 1_000
"""Pairs that are named."""


def no_hashes(num: int = 0) -> Hashes:
    """So many images of which nothing is known, (num,), uint64."""
    return np.full(num, NO_HASH, dtype=np.uint64)


def read_likeness(file: BinaryIO, offset: int, size: int) -> int:
    """The perceptual hash of an image in a tar; `NO_HASH` if it cannot be decoded, which extraction tells."""
    if size > MAX_HASHED_BYTES:
        return NO_HASH
    file.seek(offset)
    try:
        return perceptual_hash(decode_image(file.read(size)))
    except ImageRejected:
        return NO_HASH


def near_duplicates(dataset: Dataset, likenesses: Sequence[Hashes]) -> list[str]:
    """A line for each pair of images that look alike and lie in different splits, and their number.

    Args:
        dataset: The dataset.
        likenesses: Perceptual hashes of each tar's images. Without those of a tar there is no line: it could not be
            checked, which is a problem of its own.
    """
    try:
        index = dataset.table(["key", "split"])
    except CacheError:  # a problem of the index, which is told too
        return []
    hashes = np.concatenate([no_hashes(), *likenesses])
    if len(hashes) != len(index):
        return []
    found = find_near_duplicates(hashes, index["split"].to_pylist(), MAX_ALIKE)
    if not found.num_pairs:
        return []
    named = index.take(pa.array(found.pairs.ravel())).to_pylist()
    names = [f"{shown(row['key'])} ({row['split']})" for row in named]
    lines = [f"{names[i]} and {names[i + 1]} look alike" for i in range(0, len(names), 2)]
    total = f"{found.number} pairs of images of different splits look alike, {len(lines):,} of them listed"
    return [*lines, f"{total}. Give such images one group"]
