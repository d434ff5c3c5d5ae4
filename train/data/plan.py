"""Which samples make which batch: a function of seed, epoch, batch size and ranks, never of the workers.

A plan holds positions in a list of samples, of which only the tar numbers matter here. A tar's maps are read whole, so
a plan keeps each rank on a few tars at a time: a rank gets its own run of tars, cut into blocks, and shuffles within a
block. A worker then holds the maps of one block, and one rank's workers read only that rank's share of the cache.
"""

import hashlib
import struct

import numpy as np

PLAN = 2
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


def training_plan(
    tars: np.ndarray, *, seed: int, epoch: int, batch_size: int, ranks: int, block_tars: int
) -> np.ndarray:
    """Batches of one training epoch, for every rank.

    Fewer than ranks × batch_size samples sit the epoch out. They are drawn anew each epoch and from all samples alike,
    before blocks are made: the end of the last block would be one tar's, and small tars' samples would train less.

    Args:
        tars: Tar number of each sample, (n,), int.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        batch_size: Samples a rank takes in a step.
        ranks: Number of ranks.
        block_tars: Number of tars that are shuffled together.

    Returns:
        Positions in `tars`, (ranks, steps, batch_size), int64, no position twice. `plan[:, step]` is a global batch.
    """
    rng = seeded_rng("plan", seed, epoch)
    steps = num_training_steps(len(tars), batch_size, ranks)
    taken = np.sort(rng.permutation(len(tars))[: ranks * steps * batch_size])
    _, tar_of = np.unique(tars, return_inverse=True)
    tar_places = rng.permutation(tar_of.max(initial=-1) + 1)
    by_tar = taken[_shuffle_within(tar_places[tar_of[taken]], rng)]
    plan = np.empty((ranks, steps, batch_size), dtype=np.int64)
    for rank, part in enumerate(np.split(by_tar, ranks)):
        _, tar_of_part = np.unique(tar_places[tar_of[part]], return_inverse=True)
        num_tars = int(tar_of_part.max(initial=-1)) + 1
        num_blocks = -(-num_tars // block_tars)
        blocks = tar_of_part * num_blocks // max(num_tars, 1)
        plan[rank] = part[_shuffle_within(blocks, rng)].reshape(steps, batch_size)
    return plan


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
    share = np.array_split(np.arange(num_samples), ranks)[rank]
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
