"""95 % intervals that count groups: samples of one group (a scene, a clip) stand or fall together.

Three steps. Leave out one group after another and compute the figure again (`leave_out_weights`). Take the standard
error of a figure from how it moves (`standard_error`, the jackknife). Turn value, standard error and number of groups
into an interval: `bounded_interval` for a metric between 0 and 1, `difference_interval` for a difference of two,
`t_interval` for anything else. `mean_interval`, `share_interval` and
`share_difference_interval` do all three for a mean, for a share and for a paired difference of two shares.

Quantiles of a bootstrap are too narrow for few groups and for values near 1; docs/intervals.md has the simulation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit  # type: ignore[import-untyped]

LEVEL = 0.95
"""Share of repetitions in which an interval is to hold the true value."""
FEW_GROUPS = 30
"""Intervals of fewer groups carry a warning."""
MAX_BLOCKS = 1000
"""Of more groups, several are left out together: this many times."""

_CHUNK_ELEMENTS = 2**24  # of the largest array of weights: 128 MiB in float64
_NO_SPREAD = 1e-12  # a standard error below it is rounding
Ends = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: NaN without samples.
        interval: Low and high; None where fewer than two groups say nothing about chance.
        n_groups: Groups that the interval rests on.
    """

    value: float
    interval: Ends | None
    n_groups: int

    def describe(self) -> dict[str, Any]:
        """Value, interval and number of groups as plain values."""
        ends = None if self.interval is None else list(self.interval)
        return {"value": self.value, "interval": ends, "n_groups": self.n_groups}


def count_groups(groups: NDArray[np.generic], labels: NDArray[np.integer] | None = None) -> int:
    """How many groups a figure rests on: with labels, those of the class that has fewer groups.

    Args:
        groups: Group of each sample, (samples,), any type that sorts.
        labels: (samples,), 0 real, 1 generated; None for figures without classes.
    """
    if labels is None:
        return len(np.unique(groups))
    return min(len(np.unique(groups[labels == label])) for label in (0, 1))


def describe_few_groups(n_groups: int) -> str | None:
    """What a reader must know of intervals that rest on so many groups; None where they are enough."""
    if n_groups >= FEW_GROUPS:
        return None
    if n_groups < 2:
        return (
            f"Few groups: {n_groups}. There is no interval, as at least 2 groups are needed. "
            "Images of one group count as one."
        )
    return (
        f"Few groups: {n_groups}, fewer than {FEW_GROUPS}. The interval is wide, and holds only for images like these. "
        "Images of one group count as one."
    )


def leave_out_weights(groups: NDArray[np.generic], max_blocks: int = MAX_BLOCKS) -> Iterator[NDArray[np.float64]]:
    """Weight of each sample while each group in turn is left out: chunks (blocks, samples) of 0 and 1, of bounded size.

    With more groups than `max_blocks`, groups are dealt into so many blocks by a fixed shuffle, and a block is left out
    together. The weights depend on the groups alone, so that figures of the same samples are paired.

    Args:
        groups: Group of each sample, (samples,), any type that sorts.
        max_blocks: Most blocks, at least 2.
    """
    names, group = np.unique(groups, return_inverse=True)
    num_blocks = min(len(names), max_blocks)
    places = np.arange(len(names))
    block = (places if len(names) <= max_blocks else np.random.default_rng(0).permutation(places)) % num_blocks
    chunk = max(1, _CHUNK_ELEMENTS // len(group))
    for start in range(0, num_blocks, chunk):
        left_out = np.arange(start, min(start + chunk, num_blocks))
        yield (block[group] != left_out[:, None]).astype(np.float64)


def standard_error(left_out: NDArray[np.float64]) -> float:
    """Standard error of a figure by the jackknife over groups (Tukey 1958).

    Args:
        left_out: The figure without each block of `leave_out_weights`, (blocks,).

    Returns:
        NaN with fewer than two blocks, or where the figure is not defined without one of them.
    """
    num_blocks = len(left_out)
    if num_blocks < 2:
        return np.nan
    return float(np.sqrt((num_blocks - 1) * np.var(left_out)))


def t_interval(value: float, error: float, degrees: float) -> Ends | None:
    """Student's t interval of a figure without bounds.

    Args:
        value: The figure.
        error: Its standard error.
        degrees: Degrees of freedom: groups − 1.

    Returns:
        Low and high; None without a degree of freedom or where the standard error is not defined.
    """
    half = _half_width(error, degrees)
    return None if half is None else (value - half, value + half)


def bounded_interval(value: float, error: float, n_groups: int) -> Ends | None:
    """Interval of a metric or share between 0 and 1.

    A t interval of n_groups − 1 degrees of freedom on the log-odds scale, where chance is about as large on both sides
    and no end leaves 0 to 1. It is computed at the value and, as few groups easily miss the rare failure, once more
    with one group added that is half right; the outer ends count. Where no group differs from another, the ends say how
    many groups can still be otherwise unseen: p = 0.025^(1 / n_groups) is the share of good groups of which all that
    were drawn are good in one case of 40.

    Args:
        value: The figure, 0 to 1.
        error: Its standard error.
        n_groups: As of `count_groups`.

    Returns:
        Low and high; None with fewer than two groups or where the standard error is not defined.
    """
    half = _half_width(error, n_groups - 1)
    if half is None:
        return None
    if error < _NO_SPREAD or not 0 < value < 1:
        p = _unseen(n_groups)
        return value * p, 1 - (1 - value) * p
    ends = []
    for centre in (value, (value * n_groups + 0.5) / (n_groups + 1)):
        width = half / (centre * (1 - centre))
        ends.append((expit(logit(centre) - width), expit(logit(centre) + width)))
    low, high = zip(*ends, strict=True)
    return float(min(low)), float(max(high))


def difference_interval(difference: float, error: float, n_groups: int, degrees: float | None = None) -> Ends | None:
    """Interval of a difference of two figures that lie between 0 and 1, from paired samples.

    A t interval. Few groups easily miss those that differ most, so its end away from 0 is computed with half a group
    added that differs fully; the end that decides whether there is a difference is the plain one. Where no group tells
    the two apart, the interval reaches as far as unseen groups might, see `bounded_interval`.

    Args:
        difference: One figure minus the other, −1 to 1.
        error: Standard error of the paired difference.
        n_groups: As of `count_groups`.
        degrees: Degrees of freedom where the standard error has another source too; None: n_groups − 1.

    Returns:
        Low and high within −1 to 1; None with fewer than two groups or where the standard error is not defined.
    """
    half = _half_width(error, n_groups - 1 if degrees is None else degrees)
    if half is None or n_groups < 2:
        return None
    if error < _NO_SPREAD:
        p = _unseen(n_groups)
        return difference * p - (1 - p), difference * p + (1 - p)
    far = (difference * n_groups + 0.5 * np.sign(difference)) / (n_groups + 0.5)
    return max(-1.0, min(difference, far) - half), min(1.0, max(difference, far) + half)


def mean_interval(values: NDArray[np.floating], groups: NDArray[np.generic]) -> Estimate:
    """Mean of numbers without bounds, and its interval.

    Args:
        values: (samples,).
        groups: Group of each sample, (samples,).
    """
    value, error, n_groups = _weighted_mean(values, groups)
    return Estimate(value, t_interval(value, error, n_groups - 1), n_groups)


def share_interval(statements: NDArray[np.bool_ | np.floating], groups: NDArray[np.generic]) -> Estimate:
    """Share of the samples of which a statement holds, and its interval.

    Args:
        statements: (samples,), or the share of seeds of which it holds, 0 to 1.
        groups: Group of each sample, (samples,).
    """
    value, error, n_groups = _weighted_mean(statements, groups)
    return Estimate(value, bounded_interval(value, error, n_groups), n_groups)


def share_difference_interval(differences: NDArray[np.floating], groups: NDArray[np.generic]) -> Estimate:
    """Mean of paired differences of statements, and its interval: by how much one share is larger than another.

    Args:
        differences: (samples,), −1 to 1: the one statement less the other, each 0, 1 or the share of seeds.
        groups: Group of each sample, (samples,).
    """
    value, error, n_groups = _weighted_mean(differences, groups)
    return Estimate(value, difference_interval(value, error, n_groups), n_groups)


def _weighted_mean(values: NDArray[Any], groups: NDArray[np.generic]) -> tuple[float, float, int]:
    """Mean, standard error and number of groups."""
    if not len(values):
        return np.nan, np.nan, 0
    left_out = []
    for weights in leave_out_weights(groups):
        total = weights.sum(axis=1)
        left_out.append(np.divide(weights @ values, total, out=np.full(len(weights), np.nan), where=total > 0))
    return float(np.mean(values)), standard_error(np.concatenate(left_out)), count_groups(groups)


def _half_width(error: float, degrees: float) -> float | None:
    if degrees <= 0 or np.isnan(error):
        return None
    return float(stdtrit(degrees, (1 + LEVEL) / 2)) * error


def _unseen(n_groups: int) -> float:
    return float(((1 - LEVEL) / 2) ** (1 / n_groups))
