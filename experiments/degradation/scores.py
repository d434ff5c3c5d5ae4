"""Scores of degraded test images: what they are worth, and what the degradation takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.degradation.telling import AS_THEY_ARE, CHARTED, METRIC_TITLES
from experiments.study.image_sets import divide
from experiments.study.over_sources import Means, compute_means, keep_samples, match_samples
from train.scoring.scores import Reading
from train.scoring.weighted import METRICS


@dataclass(frozen=True)
class Result:
    """A reading of the images under one degradation."""

    num_images: int
    scores: Mapping[str, Means]
    """Metric → its mean over the image sources."""
    unchanged: Mapping[str, Means]
    """Metric → its mean for the same images as they are."""


Results = Mapping[str, Mapping[str, Result]]
"""`AS_THEY_ARE` and each degradation → reading → its result."""


def score_copies(readings: Mapping[str, Reading], degradations: Sequence[str]) -> tuple[Results, dict[str, str]]:
    """Score what `make_copies` made.

    Args:
        readings: Scores of all copies.
        degradations: Their names.

    Returns:
        Results, and those degradations that leave no generated image, with the reason.
    """
    names = [AS_THEY_ARE, *degradations]
    parts = {reading: divide(_labelled(whole), names) for reading, whole in readings.items()}
    results: dict[str, dict[str, Result]] = {}
    left_out = {}
    for name in names:
        if 1 not in parts["full"][name].table["label"].to_pylist():
            left_out[name] = "no generated image of the test is known to come from a photograph of the dataset"
            continue
        results[name] = {}
        for reading, part in parts.items():
            keys = part[name].table["key"].to_pylist()
            unchanged = compute_means(match_samples(part[AS_THEY_ARE], keys))
            scores = unchanged if name == AS_THEY_ARE else compute_means(part[name])
            results[name][reading] = Result(len(keys), scores, unchanged)
    return results, left_out


def _labelled(reading: Reading) -> Reading:
    return keep_samples(reading, reading.table["label"].is_valid().to_numpy())


def numbers(results: Results) -> dict[str, Any]:
    """The scores, and by how much image and map are better than the image alone."""
    gains = {
        name: {m: (each["full"].scores[m] - each["image_only"].scores[m]).describe() for m in METRIC_TITLES}
        for name, each in results.items()
    }
    described = {
        name: {reading: _describe(result) for reading, result in each.items()} for name, each in results.items()
    }
    return {"degradations": described, "gains": gains}


def _describe(result: Result) -> dict[str, Any]:
    before = {metric: result.unchanged[metric] for metric in CHARTED}
    return {
        "n": result.num_images,
        **{metric: result.scores[metric].describe() for metric in METRICS},
        "change": {metric: (result.scores[metric] - result.unchanged[metric]).describe() for metric in METRICS},
        "unchanged": {metric: {"mean": each.mean, "interval": each.interval} for metric, each in before.items()},
    }
