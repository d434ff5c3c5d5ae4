"""From measured photographs to a detector's description: the regression on some, the comparison scores of others."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detect.calibrate.config import Score
from detect.calibrate.measuring import Measured
from detect.detail import MIN_PHOTOGRAPHS, Detail
from train import MAX_PHOTOGRAPHS, Photographs, TrainingFacts, choose_by_hash

FITTED_SHARE = 1 / 3
"""Of the groups, for the regression: three numbers need few photographs, and the others decide on the smallest rate."""
MIN_GROUPS = 9
"""For the comparison: they support a false-alarm rate of 10 %."""


def score_photographs(measured: Sequence[Measured], score: Score, group_by: str) -> tuple[Photographs, Detail | None]:
    """The scores that pictures are compared with, and the regression where one is asked for.

    The regression is fitted on a third of the groups, chosen by hash. All scores are of the other groups: a photograph
    that the regression has seen lies nearer to it than a new one (split conformal prediction).

    Args:
        measured: Different photographs.
        score: As of `CalibrateConfig`.
        group_by: What a group is, in a word.

    Raises:
        ValueError: If there are too few.
    """
    fitted = choose_fitted(measured) if score == "detail" else np.zeros(len(measured), dtype=bool)
    _check_numbers(measured, fitted, score)
    means = np.array([one.mean_lare for one in measured])
    scores, detail = -means, None
    if score == "detail":
        features = np.array([one.detail for one in measured])
        num_groups = len({one.group for one, is_fitted in zip(measured, fitted, strict=True) if is_fitted})
        detail = Detail.fit(features[fitted], means[fitted], num_groups=num_groups, group_by=group_by)
        scores = detail.score(features, means)
    others = np.flatnonzero(~fitted)
    hashes = [measured[n].image.sha256 for n in others.tolist()]
    chosen = others[choose_by_hash(hashes, MAX_PHOTOGRAPHS)].tolist()
    return Photographs.of(scores[chosen].tolist(), [measured[n].group for n in chosen]), detail


def choose_fitted(measured: Sequence[Measured]) -> NDArray[np.bool_]:
    """Which photographs the regression is fitted on, (n,): a third of the groups.

    Neither names nor order decide: a group goes by the smallest hash of its photographs, hashed once more, since the
    smallest of many is small.
    """
    smallest: dict[str, str] = {}
    for one in measured:
        smallest[one.group] = min(one.image.sha256, smallest.get(one.group, one.image.sha256))
    order = sorted(smallest, key=lambda group: hashlib.sha256(smallest[group].encode()).digest())
    fitted = set(order[: math.ceil(FITTED_SHARE * len(order))])
    return np.array([one.group in fitted for one in measured], dtype=bool)


def measure_facts(measured: Sequence[Measured]) -> TrainingFacts:
    """What the photographs are like, those of the regression too."""
    sides = [sorted((one.image.width, one.image.height)) for one in measured]
    return TrainingFacts.measure(
        [one.image.format for one in measured],
        {
            "short_side_px": [short for short, _ in sides],
            "long_side_px": [long for _, long in sides],
            "jpeg_quality": [one.image.jpeg_quality for one in measured],
            "mean_lare": [one.mean_lare for one in measured],
            "gradient_energy": [one.gradient_energy for one in measured],
        },
    )


def _check_numbers(measured: Sequence[Measured], fitted: NDArray[np.bool_], score: Score) -> None:
    if not measured:
        raise ValueError("there are no usable photographs")
    num_fitted = int(fitted.sum())
    if score == "detail" and num_fitted < MIN_PHOTOGRAPHS:
        raise ValueError(
            f"{len(measured)} usable photographs are too few: a third of them, {num_fitted}, are for the regression on "
            f"local detail, which needs {MIN_PHOTOGRAPHS}. Give {3 * MIN_PHOTOGRAPHS} or more, or set --score mean."
        )
    num_groups = len({one.group for one, is_fitted in zip(measured, fitted, strict=True) if not is_fitted})
    if num_groups < MIN_GROUPS:
        raise ValueError(
            f"scores of {num_groups} groups of photographs support no false-alarm rate below "
            f"{1 / (1 + num_groups):.2%}: expected {MIN_GROUPS} groups or more, for {1 / (1 + MIN_GROUPS):.0%}"
        )
