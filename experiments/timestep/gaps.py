"""How far the mean LaRE of generated images lies from the mean LaRE of the real ones, by image source."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from experiments.study.over_sources import Means
from train.scoring.evaluate import select_sources
from train.scoring.metrics import group_weights
from train.scoring.scores import Reading

NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Gap:
    """Of one image source."""

    relative: float
    """Mean of the generated images over the mean of the real ones, less 1."""
    interval: tuple[float, float] | None
    """95 %, by resampled groups."""
    se: float | None
    """Standard error, as of `Means`."""
    num_groups: int
    n: int
    """Generated images."""
    is_paired: bool
    """Whether each stands against the real image of its own photograph."""


def compute_gaps(mean_lare: Reading) -> dict[str, Gap]:
    """The gap of each image source to the real images of its subsets.

    Args:
        mean_lare: Of minus the mean LaRE.
    """
    values, groups = -mean_lare.scores[0], mean_lare.table["group"].to_numpy()
    result = {}
    for source, chosen, labels in select_sources(mean_lare):
        generated, real = chosen[labels == 1], chosen[labels == 0]
        images, partners = match_reals(mean_lare.table, generated, real)
        is_paired = len(images) > 0
        if is_paired:
            generated, real = images, partners
        ratio = _ratio(values, groups, generated, real)
        ends = ratio.interval
        shifted = ends and (ends[0] - 1, ends[1] - 1)
        result[source] = Gap(ratio.mean - 1, shifted, ratio.se, ratio.num_groups, len(generated), is_paired)
    return result


def match_reals(
    table: pa.Table, generated: NDArray[np.intp], real: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Generated images, each with the real image of its own photograph: that itself, or what was made from it.

    Args:
        table: `key` and `derived_from`.
        generated: Positions of the generated images.
        real: Positions of the real ones.

    Returns:
        Positions, (pairs,), of generated images that have a partner, and of the partners.
    """
    keys, photographs = (table[name].to_pylist() for name in ("key", "derived_from"))
    partners = {photographs[i] or keys[i]: i for i in real.tolist()}
    pairs = [(i, partners[photographs[i]]) for i in generated.tolist() if photographs[i] in partners]
    positions = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return positions[:, 0], positions[:, 1]


def _ratio(
    values: NDArray[np.float64], groups: NDArray[np.generic], ours: NDArray[np.intp], theirs: NDArray[np.intp]
) -> Means:
    """Mean of our values over the mean of theirs, with resamples of the groups, which both may share."""
    n, both = len(ours), np.concatenate([ours, theirs])
    resampled = []
    for weights in group_weights(groups[both], NUM_RESAMPLES, seed=0):
        one, other = weights[:, :n], weights[:, n:]
        with np.errstate(invalid="ignore"):  # 0 / 0 where a resample has none of a side
            resampled.append((one @ values[ours] / one.sum(axis=1)) / (other @ values[theirs] / other.sum(axis=1)))
    ratio = np.array([values[ours].mean() / values[theirs].mean()])
    return Means(ratio, np.concatenate(resampled), len(np.unique(groups[both])), is_trained=False)
