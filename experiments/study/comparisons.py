"""Scores of a reading by image source, and paired differences of two readings' AUROCs."""

from collections.abc import Mapping
from typing import Any

from experiments.answers.readings import MEAN, name_source
from experiments.study.over_sources import Means, compute_means, keep_samples
from train.scoring.evaluate import select_sources
from train.scoring.scores import Reading

Scores = Mapping[str, Mapping[str, Means]]
"""`MEAN`, then each image source, as `name_source` names it → metric → its values."""


def score_sources(reading: Reading) -> Scores:
    """AUROC, AP and accuracy of the mean over the image sources, and of each source with the reals of its subsets.

    Raises:
        ValueError: If there is no source, one has no real images, or a seed has no threshold.
    """
    scores = {MEAN: compute_means(reading)}
    for name, chosen, _ in select_sources(reading):
        scores[name_source(name)] = compute_means(keep_samples(reading, chosen))
    return scores


def summarize(scores: Scores) -> dict[str, Any]:
    """Scores as plain values."""
    return {source: {metric: value.describe() for metric, value in each.items()} for source, each in scores.items()}


def subtract(one: Scores, other: Scores) -> dict[str, Any]:
    """By how much AUROC the one is better, paired, for `MEAN` and each source, as plain values.

    Both must score the same images.
    """
    return {name: (metrics["auroc"] - other[name]["auroc"]).describe() for name, metrics in one.items()}
