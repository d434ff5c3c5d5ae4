"""The readings of one cache, scored on validation and test: what the questions on stage 1's settings have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from experiments.answers.readings import MEAN, SPLITS
from experiments.study import comparisons
from experiments.study.comparisons import Scores, score_sources
from experiments.study.names import run_name
from experiments.study.study import Study
from train.scoring.readings import READINGS
from train.scoring.scores import Reading


@dataclass(frozen=True)
class Scored:
    """A reading of one cache.

    Attributes:
        validation: `MEAN` and each image source that has validation images → metric → values.
        test: The same of the test images.
        keys: Of the test images, in their order.
    """

    validation: Scores
    test: Scores
    keys: pa.ChunkedArray


def score(study: Study, cache: str, reading: str, arguments: Sequence[str] = ()) -> Scored:
    """Score a cache's reading, after training the detector where it is one's.

    Args:
        study: What makes detectors and predictions, once.
        cache: Name of the cache.
        reading: One of `answers.readings.TITLES`.
        arguments: What differs from the detector's recipe, where this cache needs it.

    Raises:
        CacheError: If the cache is not there.
    """
    return score_splits(load(study, cache, reading, arguments))


def load(study: Study, cache: str, reading: str, arguments: Sequence[str] = ()) -> list[Reading]:
    """A cache's reading of each of `SPLITS`; arguments as of `score`."""
    folder = study.cache(cache)
    if reading in READINGS:
        return [study.readings(folder, split=split)[reading] for split in SPLITS]
    runs = study.fit(run_name(reading, cache), folder, variant=reading, arguments=arguments)
    return [study.predict(runs, folder, split=split) for split in SPLITS]


def score_runs(study: Study, runs: Sequence[Path], cache: Path, **how: Any) -> Scored:
    """Score validation and test with trained detectors; `how` are more arguments of `Study.predict`."""
    return score_splits([study.predict(runs, cache, split=split, **how) for split in SPLITS])


def score_splits(readings: Sequence[Reading]) -> Scored:
    """Scores of a reading on each of `SPLITS`."""
    validation, test = map(score_sources, readings)
    return Scored(validation, test, readings[-1].table["key"])


def subtract_means(one: Scored, other: Scored, metric: str = "auroc") -> dict[str, Any]:
    """Split → by how much the one's mean over the image sources is better, paired, as plain values.

    Raises:
        ValueError: If they score different test images.
    """
    if one.keys != other.keys:
        raise ValueError(
            "two caches hold features of different images, so that their readings cannot be compared. "
            "`python -m cache_schema status` tells which images were rejected in which."
        )
    pairs = {split: (getattr(one, split)[MEAN][metric], getattr(other, split)[MEAN][metric]) for split in SPLITS}
    return {split: (ours - theirs).describe() for split, (ours, theirs) in pairs.items()}


def summarize(scored: Mapping[str, Scored]) -> dict[str, Any]:
    """Split → name → image source → metric → mean, sd and interval, as plain values."""
    return {
        split: {name: comparisons.summarize(getattr(each, split)) for name, each in scored.items()} for split in SPLITS
    }
