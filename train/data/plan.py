"""Which samples make which batch: a function of seed, epoch, batch size and ranks, never of the workers.

A plan holds positions in a list of samples, of which only the tar numbers matter here. A tar's maps are read whole, so
a plan keeps each rank on a few tars at a time: a rank gets its own run of tars, cut into blocks, and shuffles within a
block. A worker then holds the maps of one block, and one rank's workers read only that rank's share of the cache.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

PLAN = 3
"""Raised when the same settings give other batches: a fit cannot go on within an epoch of another plan."""


def seeded_rng(*parts: object) -> np.random.Generator:
    """A random stream that is a function of its arguments alone.

    Args:
        parts: What the stream belongs to, for example ("crop", seed, epoch, key); their text is hashed.
    """
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(parts)[:16], "little")))


def seeded_uniforms(*parts: object) -> tuple[float, float, float, float]:
    """Four random numbers that are a function of the arguments alone, without the cost of a stream.

    Args:
        parts: What the numbers belong to, as in `seeded_rng`.

    Returns:
        Uniform in [0, 1), multiples of 2⁻⁵³: the digest's four words, each without its last eleven bits.
    """
    a, b, c, d = (word >> 11 for word in struct.unpack("<4Q", _digest(parts)))
    return a * 2**-53, b * 2**-53, c * 2**-53, d * 2**-53


def _digest(parts: tuple[object, ...]) -> bytes:
    return hashlib.sha256("|".join(map(str, parts)).encode()).digest()


def num_training_steps(num_samples: int, batch_size: int, ranks: int) -> int:
    """Steps of a training epoch: whole global batches only."""
    return num_samples // (batch_size * ranks)


def check_same_plan(saved: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose next batch does not exist here.

    Args:
        saved: What the plan of the checkpoint depended on.
        here: The same of the plan that is to go on.

    Raises:
        ValueError: If they differ.
    """
    changed = [f"{name}: {saved.get(name)} → {here[name]}" for name in here if saved.get(name) != here[name]]
    if changed:
        raise ValueError(
            f"the checkpoint was saved within another plan ({', '.join(changed)}), whose next batch does not exist "
            "here. Resume with the settings and the version it was saved with, or start a new run from its weights."
        )


class TrainingPlan:
    """Batches of one rank in one training epoch, worked out block by block: no rank goes through the whole dataset.

    Fewer than ranks × batch_size samples sit the epoch out. They are drawn anew each epoch and from all samples alike,
    before tars are divided: the end of the last block would be one tar's, and small tars' samples would train less.
    Then tars are put in a random order, and each rank gets its run of it. A tar that lies across two ranks is
    divided by a random order of its own, which both of them know.

    Args:
        counts: Samples of each tar, (tars,), int. A sample's position is its place in the order of the tars.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        batch_size: Samples a rank takes in a step.
        rank: Number of the rank.
        ranks: Number of ranks.
        block_tars: Number of tars that are shuffled together.
    """

    def __init__(
        self, counts: np.ndarray, *, seed: int, epoch: int, batch_size: int, rank: int, ranks: int, block_tars: int
    ) -> None:
        self._seeds, self._rank, self._batch_size = (seed, epoch), rank, batch_size
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        num_samples = int(self._starts[-1])
        self._steps = num_training_steps(num_samples, batch_size, ranks)
        of_rank = self._steps * batch_size
        rng = seeded_rng("plan", seed, epoch)
        self._left_out = np.sort(rng.choice(num_samples, num_samples - of_rank * ranks, replace=False))
        kept = counts - np.diff(np.searchsorted(self._left_out, self._starts))
        order = rng.permutation(len(counts))
        order = order[kept[order] > 0]
        ends = np.cumsum(kept[order])
        # The part of each tar's own order that is this rank's.
        begins = np.clip(rank * of_rank - (ends - kept[order]), 0, kept[order])
        until = np.clip((rank + 1) * of_rank - (ends - kept[order]), 0, kept[order])
        mine = np.flatnonzero(until > begins)
        self._tars, begins, until = order[mine], begins[mine], until[mine]
        self._parts = np.stack([begins, until], axis=1)
        num_blocks = -(-len(self._tars) // block_tars)
        self._blocks = np.arange(len(self._tars)) * num_blocks // max(len(self._tars), 1)
        self._block_ends = np.cumsum(np.bincount(self._blocks, until - begins, minlength=num_blocks)).astype(np.int64)

    def __len__(self) -> int:
        return self._steps

    def batches(self, start: int = 0) -> Iterator[np.ndarray]:
        """Positions of each batch, (batch_size,), int64, from step `start` on. No position comes twice in an epoch."""
        done = start * self._batch_size
        block = int(np.searchsorted(self._block_ends, done, side="right"))
        waiting = np.zeros(0, np.int64)
        skip = done - (int(self._block_ends[block - 1]) if block else 0)
        for _ in range(start, self._steps):
            while len(waiting) < self._batch_size:
                waiting = np.concatenate([waiting, self._block(block)[skip:]])
                block, skip = block + 1, 0
            yield waiting[: self._batch_size]
            waiting = waiting[self._batch_size :]

    def _block(self, block: int) -> np.ndarray:
        """The positions of a block, shuffled."""
        tars = np.flatnonzero(self._blocks == block).tolist()
        positions = np.concatenate([self._of_tar(int(self._tars[i]), *self._parts[i].tolist()) for i in tars])
        return positions[seeded_rng("plan", *self._seeds, "block", self._rank, block).permutation(len(positions))]

    def _of_tar(self, tar: int, begin: int, until: int) -> np.ndarray:
        positions = np.arange(self._starts[tar], self._starts[tar + 1])
        positions = positions[~np.isin(positions, self._left_out, assume_unique=True)]
        if until - begin < len(positions):
            positions = positions[seeded_rng("plan", *self._seeds, "tar", tar).permutation(len(positions))]
        return positions[begin:until]


def _shuffle_within(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order that puts groups in ascending order and shuffles the members of each."""
    order = rng.permutation(len(groups))
    return order[np.argsort(groups[order], kind="stable")]


def evaluation_plan(num_samples: int, *, batch_size: int, rank: int, ranks: int) -> list[np.ndarray]:
    """Batches of one rank when every sample is scored exactly once.

    Samples keep the order of the tars. Last batches are ragged. Where a rank would have a batch less than the others,
    its last one is divided, so that all ranks make equally many collective calls.

    Returns:
        Positions, one array a batch, none longer than batch_size. Only with fewer samples than batches does a rank
        have fewer of them than another.
    """
    size, larger = divmod(num_samples, ranks)
    first = rank * size + min(rank, larger)
    share = np.arange(first, first + size + (rank < larger))
    steps = -(-num_samples // (batch_size * ranks))
    cuts = np.minimum(np.arange(1, steps) * batch_size, max(len(share) - 1, 0))
    return [batch for batch in np.split(share, cuts) if len(batch)]


def derangement(tars: np.ndarray, seed: int) -> np.ndarray:
    """For each sample another one of its tar: a seeded permutation of every tar's samples, shifted by one.

    A sample that is alone in its tar shares in the shift of a neighbouring tar.

    Args:
        tars: Tar number of each sample, (n,), int.
        seed: Seed of the permutation.

    Returns:
        Positions, (n,), int64, each exactly once and none at its own place.

    Raises:
        ValueError: If only one sample is given.
    """
    if len(tars) == 1:
        raise ValueError("one sample cannot be given the map of another: permuted maps need at least two samples")
    _, groups, sizes = np.unique(tars, return_inverse=True, return_counts=True)
    merged = np.arange(len(sizes))
    for tar in np.flatnonzero(sizes == 1):
        merged[tar] = merged[tar - 1] if tar else merged[min(1, len(sizes) - 1)]
    groups = merged[groups]
    order = _shuffle_within(groups, seeded_rng("derangement", seed))
    source = np.empty(len(tars), dtype=np.int64)
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        source[members] = np.roll(members, 1)
    return source
