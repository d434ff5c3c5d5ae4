"""Images that look alike in different splits: what was trained on is tested on again, in another file.

The hash is pHash (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010): which of the
lowest frequencies are above their median. Another encoding or size moves few of its 64 bits, another image about half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_DISTANCE = 4
"""Bits that may differ. Half of the bits are set, so that distances are even."""
NO_HASH = 0
"""Hash of an image without structure, which looks like every other one of its kind."""
FLAT_SD = 2.0
"""Standard deviation of the grey values, of 255, below which an image has no structure."""
NUM_BANDS = 6
MAX_RUN = 256
"""Hashes that agree in the same bands and are compared with each other. Of more, pairs may be missed, which is told."""
_SIDE, _SAMPLES, _LOW = 32, 8, 8
_COSINES = np.cos(np.pi * (2 * np.arange(_SIDE) + 1) * np.arange(_LOW)[:, None] / (2 * _SIDE))
_POWERS = np.uint64(1) << np.arange(_LOW * _LOW, dtype=np.uint64)

Hashes = NDArray[np.uint64]


def perceptual_hash(image: Image.Image) -> int:
    """The hash of what an image looks like, 64 bits; `NO_HASH` if it is flat.

    Args:
        image: Picture in mode RGB, of any size.
    """
    # One pixel in so many, and then means: a tenth of the time that means of all pixels take.
    sampled = image.resize((_SIDE * _SAMPLES, _SIDE * _SAMPLES), Image.Resampling.NEAREST)
    grey = np.asarray(sampled.convert("L").reduce(_SAMPLES), dtype=np.float64)
    if grey.std() < FLAT_SD:
        return NO_HASH
    low = (_COSINES @ grey @ _COSINES.T).ravel()
    return int(_POWERS[low > np.median(low)].sum())


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of images that look alike and lie in different splits.

    Attributes:
        num_pairs: How many there are.
        pairs: Some of them, (n, 2), int64: positions of the two images. One pair stands for all of two equal hashes.
        is_complete: Whether all are counted; otherwise there are more.
    """

    num_pairs: int
    pairs: NDArray[np.int64]
    is_complete: bool

    @property
    def number(self) -> str:
        """How many there are, as a person reads it."""
        return f"{self.num_pairs:,}" if self.is_complete else f"at least {self.num_pairs:,}"


def find_near_duplicates(hashes: Hashes, splits: Sequence[str], most: int) -> NearDuplicates:
    """Find images in different splits whose hashes differ in `MAX_DISTANCE` bits at most.

    Equal hashes are counted, not compared. Others are compared where they agree in two of six bands of bits: four bits
    cannot touch more than four bands. It takes about 100 bytes an image.

    Args:
        hashes: Of each image, (n,), uint64; `NO_HASH` takes part in no pair.
        splits: Of each image.
        most: Pairs that are given by position.
    """
    rows = np.flatnonzero(hashes != NO_HASH)
    values, value_of = np.unique(hashes[rows], return_inverse=True)
    names, split_of = np.unique(np.asarray(splits, dtype=object)[rows].astype(str), return_inverse=True)
    shape = len(values), len(names)
    cells, at, numbers = np.unique(value_of * len(names) + split_of, return_index=True, return_counts=True)
    counts, first = np.zeros(shape, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    counts.flat[cells], first.flat[cells] = numbers, rows[at]
    close, is_complete = _find_close(values)
    totals = counts.sum(axis=1)
    equal = np.flatnonzero((counts > 0).sum(axis=1) > 1)
    in_equal = (totals[equal] ** 2 - (counts[equal] ** 2).sum(axis=1)) // 2
    one, other = close.T
    in_close = totals[one] * totals[other] - (counts[one] * counts[other]).sum(axis=1)
    close = close[in_close > 0]
    both = np.concatenate([np.stack([equal, equal], axis=1), close])
    pairs = [_example(first[a], first[b]) for a, b in both[:most].tolist()]
    positions = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return NearDuplicates(int(in_equal.sum() + in_close.sum()), positions, is_complete)


def _example(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[int, int]:
    """The first image of one hash and the first of another that lie in different splits."""
    found = [(int(a), int(b)) for i, a in enumerate(one) for k, b in enumerate(other) if i != k and a >= 0 and b >= 0]
    return min(found)


def _find_close(values: Hashes) -> tuple[NDArray[np.int64], bool]:
    """Pairs of different hashes at most `MAX_DISTANCE` apart, (n, 2), ascending; and whether these are all."""
    found, is_complete = [np.empty(0, dtype=np.int64)], True
    edges = np.linspace(0, 64, NUM_BANDS + 1).astype(int).tolist()
    bands = [np.uint64((1 << end) - (1 << start)) for start, end in pairwise(edges)]
    for chosen in combinations(bands, NUM_BANDS - MAX_DISTANCE):
        keys = values & np.bitwise_or.reduce(np.array(chosen))
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        at = np.arange(len(keys) - 1)
        for step in range(1, MAX_RUN + 1):
            at = at[at + step < len(keys)]
            at = at[keys[at] == keys[at + step]]
            if not len(at):
                break
            one, other = order[at], order[at + step]
            near = _distances(values[one], values[other]) <= MAX_DISTANCE
            low, high = np.minimum(one[near], other[near]), np.maximum(one[near], other[near])
            found.append(low * len(values) + high)
        else:
            is_complete = False
    codes = np.unique(np.concatenate(found))
    return np.stack([codes // max(len(values), 1), codes % max(len(values), 1)], axis=1), is_complete


def _distances(one: Hashes, other: Hashes) -> NDArray[np.int64]:
    """Bits that differ, (n,)."""
    different = (one ^ other).view(np.uint8).reshape(len(one), 8)
    counted: NDArray[np.int64] = np.unpackbits(different, axis=1).sum(axis=1, dtype=np.int64)
    return counted
