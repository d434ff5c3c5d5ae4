"""How far the mean LaRE of generated images lies from the mean LaRE of the real ones, by image source."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from train.scoring.evaluate import select_sources
from train.scoring.intervals import Ends, count_groups, leave_out_weights, standard_error, t_interval
from train.scoring.scores import Reading


@dataclass(frozen=True)
class Gap:
    """Of one image source."""

    relative: float
    """Mean of the generated images over the mean of the real ones, less 1."""
    interval: Ends | None
    """95 %, by group."""
    se: float | None
    """Standard error of the images, None with one group of a side."""
    n_groups: int
    """Of the side that has fewer."""
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
        relative = float(values[generated].mean() / values[real].mean()) - 1
        error = standard_error(_leave_out(values, groups, generated, real))
        sides = np.repeat([1, 0], [len(generated), len(real)])
        n_groups = count_groups(groups[np.concatenate([generated, real])], sides)
        ends = t_interval(relative, error, n_groups - 1)
        result[source] = Gap(relative, ends, None if np.isnan(error) else error, n_groups, len(generated), is_paired)
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


def _leave_out(
    values: NDArray[np.float64], groups: NDArray[np.generic], ours: NDArray[np.intp], theirs: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Mean of our values over the mean of theirs without each block of groups, which both may share, (blocks,)."""
    n, left_out = len(ours), []
    for weights in leave_out_weights(groups[np.concatenate([ours, theirs])]):
        one, other = weights[:, :n], weights[:, n:]
        with np.errstate(invalid="ignore"):  # 0 / 0 where a side is one block alone
            left_out.append((one @ values[ours] / one.sum(axis=1)) / (other @ values[theirs] / other.sum(axis=1)))
    return np.concatenate(left_out)
