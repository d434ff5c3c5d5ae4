"""The rule of comparisons: images in groups and training seeds together, and all comparisons of an answer at once.

A comparison is a number that is one value less another, or a value against a level, for example AUROC against 0.5. Its
variance has two parts. The images are one: the squared standard error of the seeds' mean by the jackknife over groups
(`train.scoring.intervals`). The seeds are the other: s² / n for n seeds, where something was trained. The degrees of
freedom are Satterthwaite's (Biometrics Bulletin 2, 1946) of G − 1 and n − 1, for G groups of the class that has fewer.
`python -m bench.measures.rule` simulates it.

What seeds and images do together stands in both parts, so that the variance is rather too large than too small.
"""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from scipy.special import ndtri, stdtr, stdtrit  # type: ignore[import-untyped]

from train.scoring.holm import LEVEL, holm

K = TypeVar("K", bound=Hashable)
Value = Mapping[str, Any]
"""A metric or a difference as JSON holds it.

"mean"; "interval" of the images alone (two ends, or None); "sd" over seeds, None for fewer than two; "num_seeds", 0
where nothing is trained; "n_groups" behind the interval; "se", the standard error of the images alone, or None. Answers
of earlier versions have the first three, and their intervals are quantiles, see `experiments.answers.older`.
"""
MIN_SEEDS = 5
"""For any verdict on what was trained. With two the t quantile is 12.7: nothing would ever be found."""
MARGIN = 0.01
"""AUROC or AP. What differs by less is called equally good, if tests show it: a hundredth is the last digit that tables
of these metrics show, and what two seeds of one recipe differ by."""
NORMAL_95 = float(ndtri(1 - LEVEL / 2))
NO_SPREAD = 1e-20
"""Variance below which it is rounding."""
MAX_DEGREES = 1e9
"""Degrees of freedom where the number of groups is not known: the normal distribution."""
RULE = (
    "Verdicts stand in the finding alone. They take images in groups and seeds together, need five seeds, and are "
    "corrected for all comparisons of this answer (Holm). Intervals of differences are 95 %, by images and seeds, not "
    "corrected."
)


class Verdict(StrEnum):
    """How a comparison ends; what failed comes first, and the value is how it is said."""

    WORSE = "significantly worse"
    INVERTED = "no verdict, as both are inverted"
    CHANCE = "no verdict, as neither is above chance"
    FEW_SEEDS = "not enough seeds for a verdict"
    NOT_KNOWN = "no verdict, as the variance is not known"
    SAME = "no significant difference"
    EQUAL = "equally good"
    BETTER = "significantly better"

    @property
    def is_as_good(self) -> bool:
        """Whether it is shown to be no worse."""
        return self in (Verdict.EQUAL, Verdict.BETTER)

    @property
    def side(self) -> int:
        """1 better, −1 worse, 0 neither or not known."""
        return {Verdict.BETTER: 1, Verdict.WORSE: -1}.get(self, 0)


ORDER = {verdict: place for place, verdict in enumerate(Verdict)}
"""Of sorting, what failed first."""


@dataclass(frozen=True)
class Comparison:
    """One of the comparisons that an answer makes.

    Attributes:
        value: The difference, or what is compared with a level.
        level: What it is compared with.
        aurocs: Of the one and of the other, where they are known: with neither above chance none is better.
        margin: Equally good is what lies within ± this; None: equality is not asked for.
    """

    value: Value
    level: float = 0.0
    aurocs: tuple[Value, Value] | None = None
    margin: float | None = None


def count_seeds(value: Value) -> int:
    """Seeds behind a value, 0 where nothing is trained. Of seeds that are not counted at least one is known of."""
    return int(value.get("num_seeds", 0 if value["sd"] is None else 1))


def negate(value: Value) -> Value:
    """The other one less the one."""
    interval = value["interval"]
    return {**value, "mean": -value["mean"], "interval": interval and [-interval[1], -interval[0]]}


def spread(value: Value) -> tuple[float, float] | None:
    """Standard error of a value, and its degrees of freedom.

    Returns:
        None where the images' part is not known, there is one group, or one seed, whose part is not known, or no spread
        at all among groups that are not counted.
    """
    num_seeds, n_groups = count_seeds(value), value.get("n_groups") or math.inf
    images = _image_variance(value)
    if images is None or n_groups < 2 or (num_seeds and (value["sd"] is None or num_seeds < 2)):
        return None
    seeds = value["sd"] ** 2 / num_seeds if num_seeds else 0.0
    if images + seeds < NO_SPREAD:
        # All groups and seeds agree, as at AUROC 1. Half a group may still disagree the next time.
        return (0.5 / n_groups, n_groups - 1) if n_groups < math.inf else None
    parts = images**2 / (n_groups - 1) + (seeds**2 / (num_seeds - 1) if num_seeds else 0.0)
    return math.sqrt(images + seeds), (images + seeds) ** 2 / parts if parts else math.inf


def _image_variance(value: Value) -> float | None:
    """Of the images alone; without a standard error by the wider half of the interval, which is never too narrow."""
    if value.get("se") is not None:
        return float(value["se"] ** 2)
    if value["interval"] is None:
        return None
    low, high = value["interval"]
    return (max(value["mean"] - low, high - value["mean"]) / NORMAL_95) ** 2


def whole_interval(value: Value) -> tuple[float, float] | None:
    """95 % interval by images and seeds; None where either part is not known."""
    known = spread(value)
    if known is None:
        return None
    error, degrees = known
    half = float(stdtrit(min(degrees, MAX_DEGREES), 1 - LEVEL / 2)) * error
    return value["mean"] - half, value["mean"] + half


def p_value(value: Value, level: float = 0.0) -> float | None:
    """Two-sided p-value of a value against a level; None where it cannot be had, as of fewer seeds than `MIN_SEEDS`."""
    known = spread(value) if count_seeds(value) not in range(1, MIN_SEEDS) else None
    return None if known is None else float(min(1.0, 2 * _tail(abs(value["mean"] - level), known)))


def p_equal(value: Value, margin: float) -> float | None:
    """P-value of two one-sided tests: small where a difference lies within ± the margin; None as of `p_value`."""
    known = spread(value) if count_seeds(value) not in range(1, MIN_SEEDS) else None
    return None if known is None else float(_tail(margin - abs(value["mean"]), known))


def _tail(distance: float, known: tuple[float, float]) -> float:
    """Chance of at least this distance above the truth."""
    error, degrees = known
    return float(stdtr(min(degrees, MAX_DEGREES), -distance / error))


def judge(comparisons: Mapping[K, Comparison]) -> dict[K, Verdict]:
    """The verdict on each of all comparisons that an answer makes.

    Tests of difference and of equality are one family: an answer that asks for both pays for both.
    """
    p_values: dict[tuple[K, bool], float] = {}
    for name, each in comparisons.items():
        p = p_value(each.value, each.level)
        if p is not None and _find_chance(each) is None:
            p_values[name, True] = p
        p = None if each.margin is None else p_equal(each.value, each.margin)
        if p is not None:
            p_values[name, False] = p
    found = holm(p_values)
    return {name: _decide(each, (name, True) in found, (name, False) in found) for name, each in comparisons.items()}


def judge_one(value: Value, level: float = 0.0) -> Verdict:
    """The verdict on a comparison that stands alone."""
    return judge({0: Comparison(value, level)})[0]


def _decide(each: Comparison, is_different: bool, is_equal: bool) -> Verdict:
    if 0 < count_seeds(each.value) < MIN_SEEDS:
        return Verdict.FEW_SEEDS
    if spread(each.value) is None:
        return Verdict.NOT_KNOWN
    if is_equal and not is_different:
        return Verdict.EQUAL
    chance = _find_chance(each)
    if chance is not None:
        return chance
    if not is_different:
        return Verdict.EQUAL if is_equal else Verdict.SAME
    return Verdict.BETTER if each.value["mean"] > each.level else Verdict.WORSE


def _find_chance(each: Comparison) -> Verdict | None:
    """Why nothing can be better: the higher of both AUROCs is inverted, or consistent with chance."""
    if each.aurocs is None:
        return None
    ends = whole_interval(max(each.aurocs, key=lambda value: value["mean"]))
    if ends is None or ends[0] > 0.5:
        return None
    return Verdict.INVERTED if ends[1] < 0.5 else Verdict.CHANCE


def place_at_chance(aurocs: Mapping[K, Value], others: Mapping[K, Comparison] | None = None) -> dict[K, Verdict]:
    """AUROCs against 0.5, judged together, and with other comparisons of the same answer.

    Returns:
        Of the AUROCs alone; better is above chance, worse is inverted.
    """
    family: dict[Any, Comparison] = {("auroc", name): Comparison(value, 0.5) for name, value in aurocs.items()}
    family |= {("other", name): each for name, each in (others or {}).items()}
    judged = judge(family)
    return {name: judged["auroc", name] for name in aurocs}


def list_failed_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts that occur, each once."""
    return sorted(set(verdicts), key=ORDER.__getitem__)
