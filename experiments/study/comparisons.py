"""Which of two detectors is better: decided and said from paired differences of their AUROCs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.answers.answer import with_interval
from experiments.study.over_sources import Means, compute_means, keep_samples
from train.scoring.evaluate import select_sources
from train.scoring.scores import Reading

RULE = (
    "Better or worse is said where the whole 95 % interval lies on one side of 0 and the difference is larger than its "
    "standard deviation over seeds."
)
MEAN = "mean"
"""Name of the mean over the image sources beside them."""
Scores = Mapping[str, Mapping[str, Means]]
"""`MEAN`, then each image source → metric → its values."""


def score_sources(reading: Reading) -> Scores:
    """AUROC, AP and accuracy of the mean over the image sources, and of each source with the reals of its subsets.

    Raises:
        ValueError: If there is no source, one has no real images, or a seed has no threshold.
    """
    scores = {MEAN: compute_means(reading)}
    return scores | {name: compute_means(keep_samples(reading, chosen)) for name, chosen, _ in select_sources(reading)}


def summarize(scores: Scores) -> dict[str, Any]:
    """Scores as plain values."""
    return {source: {metric: value.describe() for metric, value in each.items()} for source, each in scores.items()}


def subtract(one: Scores, other: Scores) -> dict[str, Means]:
    """By how much AUROC the one is better, paired, for `MEAN` and each source. Both must score the same images."""
    return {name: metrics["auroc"] - other[name]["auroc"] for name, metrics in one.items()}


def judge(difference: Means) -> int:
    """1 better, −1 worse, 0 not told apart, by `RULE`."""
    return judge_parts(**difference.describe())


def judge_parts(mean: float, interval: Sequence[float] | None, sd: float | None) -> int:
    """The same of its parts."""
    return side_of(interval, 0) if abs(mean) > (sd or 0) else 0


def side_of(interval: Sequence[float] | None, level: float) -> int:
    """On which side of a level an interval lies: 1 above, −1 below, 0 where it holds the level or there is none."""
    if interval is None or interval[0] <= level <= interval[1]:
        return 0
    return 1 if interval[0] > level else -1


def describe_value(value: Means) -> str:
    """A metric: "0.84 (0.80 to 0.88) ±0.010", the last for several seeds."""
    return format_value(**value.describe())


def format_value(mean: float, interval: tuple[float, float] | list[float] | None, sd: float | None) -> str:
    """The same of its parts."""
    return with_interval(mean, interval) + ("" if sd is None else f" ±{sd:.3f}")


def describe_difference(difference: Means) -> str:
    """A difference: "+0.012 (−0.003 to +0.020; sd over seeds 0.004)", the last for several seeds."""
    return format_difference(difference.mean, difference.interval, difference.sd)


def format_difference(difference: float, interval: Sequence[float] | None, sd: float | None) -> str:
    """The same of its parts."""
    ends = "{:+.3f} to {:+.3f}".format(*interval) if interval else "no interval"
    seeds = "" if sd is None else f"; sd over seeds {sd:.3f}"
    return f"{difference:+.3f} ({ends}{seeds})".replace("-", "−")


def sum_up_verdicts(compared: Iterable[tuple[str, Means]]) -> str:
    """Names alone: "worse: this; not told apart: that, those"; what there is none of is left out.

    Args:
        compared: Name, and by how much it is better.
    """
    judged = [(name, judge(difference)) for name, difference in compared]
    heads = {-1: "worse", 0: "not told apart", 1: "better"}
    found = {head: [name for name, verdict in judged if verdict == each] for each, head in heads.items()}
    return "; ".join(f"{head}: {', '.join(names)}" for head, names in found.items() if names)


def describe_verdicts(compared: Sequence[tuple[str, str, Means]]) -> str:
    """What is worse, what is not told apart, what is better, in this order; what there is none of is left out.

    Args:
        compared: The one, the other, and by how much the one is better.
    """
    heads = {-1: ("Worse", "than"), 0: ("Not told apart", "and"), 1: ("Better", "than")}
    parts = []
    for verdict, (head, word) in heads.items():
        found = [
            f"{one} {word} {other}, {describe_difference(difference)}"
            for one, other, difference in compared
            if judge(difference) == verdict
        ]
        if found:
            parts.append(f"{head}: {'; '.join(found)}.")
    return " ".join(parts)
