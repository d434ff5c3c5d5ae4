"""Which of two settings is better: decided by one rule and said in one form, from plain values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.answers.answer import capitalize, with_interval

Value = Mapping[str, Any]
"""A metric or a difference as JSON holds it: "mean", "interval" (two ends, or None), "sd" (of seeds; None for one)."""
RULE = (
    "A difference is significant where its whole 95 % interval lies on one side of 0 and it is larger than its "
    "standard deviation over seeds."
)
WORDS = {-1: "significantly worse", 0: "no significant difference", 1: "significantly better"}
"""Verdict of `judge` → how it is said; in this order, what failed first."""


def judge(difference: Value) -> int:
    """1 better, −1 worse, 0 no significant difference, by `RULE`."""
    is_beyond_seeds = abs(difference["mean"]) > (difference["sd"] or 0)
    return side_of(difference["interval"], 0) if is_beyond_seeds else 0


def side_of(interval: Sequence[float] | None, level: float) -> int:
    """On which side of a level an interval lies: 1 above, −1 below, 0 where it holds the level or there is none."""
    if interval is None or interval[0] <= level <= interval[1]:
        return 0
    return 1 if interval[0] > level else -1


def group_verdicts(verdicts: Mapping[str, int]) -> dict[int, list[str]]:
    """Verdict, from −1 to 1 → the names that have it; what none has is left out."""
    found = {verdict: [name for name, each in verdicts.items() if each == verdict] for verdict in WORDS}
    return {verdict: names for verdict, names in found.items() if names}


def describe_value(value: Value) -> str:
    """A metric: "0.84 (0.80 to 0.88) ±0.010", the last for several seeds."""
    return with_interval(value["mean"], value["interval"]) + ("" if value["sd"] is None else f" ±{value['sd']:.3f}")


def describe_difference(difference: Value) -> str:
    """A difference: "+0.012 (−0.003 to +0.020; sd over seeds 0.004)", the last for several seeds."""
    interval, sd = difference["interval"], difference["sd"]
    ends = "{:+.3f} to {:+.3f}".format(*interval) if interval else "no interval"
    seeds = "" if sd is None else f"; sd over seeds {sd:.3f}"
    return f"{difference['mean']:+.3f} ({ends}{seeds})".replace("-", "−")


def compare(one: str, other: str, difference: Value, metric: str = "AUROC") -> str:
    """A sentence: the one against the other, the verdict, the figure.

    Args:
        one: Name.
        other: Name of what it is compared with.
        difference: By how much the one is better.
        metric: Of the difference.
    """
    return capitalize(f"{one} against {other}: {WORDS[judge(difference)]}, {metric} {describe_difference(difference)}.")


def compare_all(compared: Iterable[tuple[str, str, Value]], metric: str = "AUROC") -> list[str]:
    """A list item for each comparison (the one, the other, by how much the one is better): worse, equal, better."""
    ordered = sorted(compared, key=lambda each: judge(each[2]))
    return [f"- {compare(*each, metric)}" for each in ordered]


def state_verdicts(compared: Mapping[str, Value], other: str) -> str:
    """Clauses for a headline: "a is significantly worse than x; b and c are significantly better".

    Args:
        compared: Name, and by how much it is better.
        other: Name of what all are compared with.
    """
    clauses: list[str] = []
    for verdict, names in group_verdicts({name: judge(each) for name, each in compared.items()}).items():
        word = WORDS[verdict] if verdict else "not significantly different"
        against = "" if clauses else f" {'than' if verdict else 'from'} {other}"
        clauses.append(f"{join_names(names)} {'is' if len(names) == 1 else 'are'} {word}{against}")
    return "; ".join(clauses)


def join_names(names: Sequence[str], *, is_simple: bool = False) -> str:
    """The names as a list within a sentence, "a, b and c"; with semicolons where a name has a comma itself.

    Args:
        names: In their order.
        is_simple: Commas within the names stand in brackets.
    """
    if len(names) < 2:
        return "".join(names)
    comma = ";" if not is_simple and any("," in name for name in names) else ","
    last = f"{comma} and" if comma == ";" else " and"
    return f"{f'{comma} '.join(names[:-1])}{last} {names[-1]}"
