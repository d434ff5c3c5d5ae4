"""Means over the image sources, with intervals and paired differences that leave out the groups of all sources at once.

`train.scoring.evaluate` gives each source its interval. A mean over sources has none there, as the sources share their
reals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.scoring.evaluate import select_sources
from train.scoring.intervals import (
    Ends,
    bounded_interval,
    count_groups,
    difference_interval,
    leave_out_weights,
    standard_error,
)
from train.scoring.scores import Reading
from train.scoring.weighted import METRICS, weighted_metrics

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """One metric of a reading, averaged over the image sources, or a difference of two such.

    Attributes:
        seeds: One value a seed, (seeds,).
        left_out: The seeds' mean without each block of groups of `leave_out_weights`, (blocks,); NaN where a class is
            in one block alone.
        n_groups: As of `count_groups`: those of the class that has fewer.
        is_trained: Whether each seed has trained something. A score that needs no training has one value and no seed.
        is_difference: Whether it lies between −1 and 1, and not between 0 and 1.
    """

    seeds: Floats
    left_out: Floats
    n_groups: int
    is_trained: bool = True
    is_difference: bool = False

    def __sub__(self, other: "Means") -> "Means":
        """Paired difference; both must come from the same samples. One without seeds stands for each."""
        num_seeds = {len(self.seeds), len(other.seeds)} - {1}
        if len(num_seeds) > 1:
            raise ValueError(f"{len(self.seeds)} and {len(other.seeds)} seeds cannot be paired")
        return Means(
            self.seeds - other.seeds,
            self.left_out - other.left_out,
            min(self.n_groups, other.n_groups),
            self.is_trained or other.is_trained,
            is_difference=True,
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
        """Standard error of the images alone; None with one group of a class."""
        error = standard_error(self.left_out)
        return None if np.isnan(error) else error

    @property
    def interval(self) -> Ends | None:
        """95 % interval of the images alone; None as of `se`."""
        of_kind = difference_interval if self.is_difference else bounded_interval
        return of_kind(self.mean, standard_error(self.left_out), self.n_groups)

    def describe(self) -> dict[str, Any]:
        """As plain values, see `experiments.answers.rule.Value`."""
        names = ("mean", "sd", "interval", "n_groups", "num_seeds", "se")
        return {name: getattr(self, name) for name in names}


def compute_means(reading: Reading, *, is_trained: bool | None = None) -> dict[str, Means]:
    """Each of `train.scoring.weighted.METRICS`, averaged over the image sources; each meets the reals of its subsets.

    Accuracies are those at each seed's threshold from validation.

    Args:
        reading: Scores, a threshold for each seed.
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
        """(metrics, seeds, weightings) of sample weights (weightings, samples)."""
        values = [
            [
                weighted_metrics(weights[:, chosen], labels, scores[chosen], called[chosen])
                for scores, called in zip(reading.scores, calls, strict=True)
            ]
            for chosen, labels in sources
        ]
        return np.mean(values, axis=0).transpose(1, 0, 2)

    plain = over_sources(np.ones((1, len(reading.table))))[:, :, 0]
    used, is_generated = _label_used(sources, len(reading.table))
    groups = reading.table["group"].to_numpy()
    chunks = []
    for of_used in leave_out_weights(groups[used]):
        weights = np.zeros((len(of_used), len(groups)))
        weights[:, used] = of_used
        chunks.append(over_sources(weights).mean(axis=1))
    left_out = np.concatenate(chunks, axis=1)
    n_groups = count_groups(groups[used], is_generated[used])
    trained = reading.is_probability if is_trained is None else is_trained
    return {name: Means(plain[i], left_out[i], n_groups, trained) for i, name in enumerate(METRICS)}


def _label_used(
    sources: Sequence[tuple[NDArray[np.intp], NDArray[np.int64]]], num_samples: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which samples some source's metrics see, and the label of each of all samples, (samples,)."""
    used, labels = np.zeros(num_samples, dtype=bool), np.zeros(num_samples, dtype=np.int64)
    for chosen, of_source in sources:
        used[chosen] = True
        labels[chosen] = of_source
    return used, labels


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
