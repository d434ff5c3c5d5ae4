"""Means over the image sources, with intervals and paired differences that resample the groups of all sources at once.

`train.scoring.evaluate` gives each source its interval. A mean over sources has none there, as the sources share their
reals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.scoring.evaluate import select_sources
from train.scoring.metrics import group_weights, interval
from train.scoring.scores import Reading

METRICS = ("accuracy", "balanced_accuracy", "average_precision", "auroc")
"""Accuracies are those at each seed's threshold from validation."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """One metric of a reading, averaged over the image sources.

    Attributes:
        seeds: One value a seed, (seeds,).
        resampled: The seeds' mean for each resample of the groups, (resamples,); NaN where a resample lacks a class.
        num_groups: Groups that are resampled.
        is_trained: Whether each seed has trained something. A score that needs no training has one value and no seed.
    """

    seeds: Floats
    resampled: Floats
    num_groups: int
    is_trained: bool = True

    def __sub__(self, other: "Means") -> "Means":
        """Paired difference; both must come from the same samples and resamples. One without seeds stands for each."""
        num_seeds = {len(self.seeds), len(other.seeds)} - {1}
        if len(num_seeds) > 1:
            raise ValueError(f"{len(self.seeds)} and {len(other.seeds)} seeds cannot be paired")
        return Means(
            self.seeds - other.seeds,
            self.resampled - other.resampled,
            min(self.num_groups, other.num_groups),
            self.is_trained or other.is_trained,
        )

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(self.seeds.mean())

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds, None for one."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else None

    @property
    def num_seeds(self) -> int:
        """Seeds that have trained something."""
        return len(self.seeds) if self.is_trained else 0

    @property
    def se(self) -> float | None:
        """Standard error of the images alone: over resamples, × √(G / (G − 1)). None for one group, or no resample."""
        values = self.resampled[~np.isnan(self.resampled)]
        if self.num_groups < 2 or len(values) < 2:
            return None
        return float(np.std(values, ddof=1) * np.sqrt(self.num_groups / (self.num_groups - 1)))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval, None where no resample has both classes."""
        low, high = interval(self.resampled)
        return None if np.isnan(low) else (low, high)

    def describe(self) -> dict[str, Any]:
        """As plain values, see `experiments.answers.rule.Value`."""
        names = ("mean", "sd", "interval", "num_seeds", "num_groups", "se")
        return {name: getattr(self, name) for name in names}


def compute_means(
    reading: Reading, num_resamples: int = 1000, seed: int = 0, *, is_trained: bool | None = None
) -> dict[str, Means]:
    """Each of `METRICS`, averaged over the generated image sources; each source meets the reals of its subsets.

    Args:
        reading: Scores, a threshold for each seed.
        num_resamples: Resamples of the groups.
        seed: Of the resamples. Readings of the same samples are resampled alike, so that differences are paired.
        is_trained: As of `Means`; None: where scores are probabilities, as a detector's are.

    Raises:
        ValueError: If a source has no real images in its subset, there is no source, or a seed has no threshold.
    """
    sources = [(chosen, labels) for _, chosen, labels in select_sources(reading)]
    thresholds = [t for t in reading.thresholds if t is not None]
    if not sources or len(thresholds) < len(reading.scores):
        raise ValueError(f"{len(sources)} image sources and {len(thresholds)} thresholds: nothing to average")
    calls = [scores > threshold for scores, threshold in zip(reading.scores, thresholds, strict=True)]

    def over_sources(weights: Floats) -> Floats:
        """(metrics, seeds, resamples) of sample weights (resamples, samples)."""
        values = [
            [
                _weighted_metrics(weights[:, chosen], labels, scores[chosen], called[chosen])
                for scores, called in zip(reading.scores, calls, strict=True)
            ]
            for chosen, labels in sources
        ]
        return np.mean(values, axis=0).transpose(1, 0, 2)

    plain = over_sources(np.ones((1, len(reading.table))))[:, :, 0]
    groups = reading.table["group"].to_numpy()
    chunks = [over_sources(weights).mean(axis=1) for weights in group_weights(groups, num_resamples, seed)]
    resampled = np.concatenate(chunks, axis=1)
    num_groups = len(np.unique(groups[np.concatenate([chosen for chosen, _ in sources])]))
    trained = reading.is_probability if is_trained is None else is_trained
    return {name: Means(plain[i], resampled[i], num_groups, trained) for i, name in enumerate(METRICS)}


def _weighted_metrics(weights: Floats, labels: NDArray[np.int64], scores: Floats, called: NDArray[np.bool_]) -> Floats:
    """`METRICS` of weighted samples, (metrics, resamples); NaN where a class has no weight.

    Args:
        weights: (resamples, samples).
        labels: (samples,), 0 real, 1 generated.
        scores: (samples,).
        called: Which samples are called generated, (samples,).
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))  # of each level of equal scores
    is_generated, is_called, weights = labels[order] == 1, called[order], weights[:, order]
    num_found, num_cleared = weights @ (is_called & is_generated), weights @ ~(is_called | is_generated)
    generated, real = (np.add.reduceat(weights * which, starts, axis=1) for which in (is_generated, ~is_generated))
    above, real_above = generated.cumsum(axis=1), real.cumsum(axis=1)
    num_generated, num_real = above[:, -1], real_above[:, -1]
    precision_sum = (generated * above / np.maximum(above + real_above, 1)).sum(axis=1)
    won = (generated * (num_real[:, None] - real_above + real / 2)).sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a class is missing
        missing = np.where(num_generated * num_real > 0, 0.0, np.nan)
        accuracy = (num_found + num_cleared) / (num_generated + num_real)
        balanced_accuracy = (num_found / num_generated + num_cleared / num_real) / 2
        auroc = won / (num_generated * num_real)
        # Without reals every precision is 1.
        return np.stack([accuracy + missing, balanced_accuracy, precision_sum / num_generated + missing, auroc])


def keep_samples(reading: Reading, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Reading:
    """A reading of some of its samples.

    Args:
        reading: Scores of all samples.
        chosen: Positions, or a mask.
    """
    positions = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    return replace(reading, table=reading.table.take(positions), scores=reading.scores[:, positions])


def match_samples(reading: Reading, keys: Sequence[str]) -> Reading:
    """A reading of the samples of these keys, in their order.

    Raises:
        KeyError: If one is not there.
    """
    place = {key: i for i, key in enumerate(reading.table["key"].to_pylist())}
    return keep_samples(reading, np.array([place[key] for key in keys], dtype=np.intp))
