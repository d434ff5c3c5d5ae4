"""Verdicts and values in words: one form for all answers. `experiments.answers.rule` decides."""

from collections.abc import Iterable, Mapping, Sequence

from experiments.answers.answer import capitalize, with_interval
from experiments.answers.rule import ORDER, Value, Verdict, count_seeds, whole_interval

CHANCE_WORDS = {
    Verdict.WORSE: "inverted (significantly below chance)",
    Verdict.SAME: "consistent with chance",
    Verdict.FEW_SEEDS: Verdict.FEW_SEEDS.value,
    Verdict.NOT_KNOWN: Verdict.NOT_KNOWN.value,
    Verdict.BETTER: "significantly above chance",
}
"""Verdict on an AUROC against 0.5 → how it is said; what failed comes first."""


def side_of(interval: Sequence[float] | None, level: float) -> int:
    """On which side of a level an interval lies: 1 above, −1 below, 0 where it holds the level or there is none."""
    if interval is None or interval[0] <= level <= interval[1]:
        return 0
    return 1 if interval[0] > level else -1


def group_verdicts(verdicts: Mapping[str, Verdict]) -> dict[Verdict, list[str]]:
    """Verdict, what failed first → the names that have it; what none has is left out."""
    found = {verdict: [name for name, each in verdicts.items() if each is verdict] for verdict in ORDER}
    return {verdict: names for verdict, names in found.items() if names}


def describe_value(value: Value) -> str:
    """A metric: "0.84 (0.80 to 0.88) ±0.010", the last for several seeds."""
    return with_interval(value["mean"], value["interval"]) + ("" if value["sd"] is None else f" ±{value['sd']:.3f}")


def describe_difference(difference: Value) -> str:
    """A difference with its interval by images and seeds: "+0.012 (−0.003 to +0.020; 5 seeds)".

    One seed tells nothing of its own spread: then the interval is of the images alone, and the text says so.
    """
    num_seeds, ends = count_seeds(difference), whole_interval(difference)
    seeds = "" if not num_seeds else "; 1 seed, images alone" if num_seeds == 1 else f"; {num_seeds} seeds"
    ends = ends or (difference["interval"] if num_seeds else None)
    shown = "{:+.3f} to {:+.3f}".format(*ends) if ends else "no interval"
    return f"{difference['mean']:+.3f} ({shown}{seeds})".replace("-", "−")


def compare(one: str, other: str, difference: Value, verdict: Verdict, metric: str = "AUROC") -> str:
    """A sentence: the one against the other, the verdict, the figure.

    Args:
        one: Name.
        other: Name of what it is compared with.
        difference: By how much the one is better.
        verdict: On it, among all comparisons of the answer.
        metric: Of the difference.
    """
    return capitalize(f"{one} against {other}: {verdict}, {metric} {describe_difference(difference)}.")


def compare_all(compared: Iterable[tuple[str, str, Value, Verdict]], metric: str = "AUROC") -> list[str]:
    """A list item for each comparison (the one, the other, by how much the one is better, verdict), worse first."""
    ordered = sorted(compared, key=lambda each: ORDER[each[3]])
    return [f"- {compare(*each, metric)}" for each in ordered]


def state_verdicts(verdicts: Mapping[str, Verdict], other: str) -> str:
    """Clauses for a headline: "a is significantly worse than x; b and c are significantly better".

    Args:
        verdicts: Name, and the verdict on it against the other.
        other: Name of what all are compared with.
    """
    clauses: list[str] = []
    for verdict, names in group_verdicts(verdicts).items():
        is_one = len(names) == 1
        if verdict.side:
            clause = f"{join_names(names)} {'is' if is_one else 'are'} {verdict} than {other}"
        elif verdict is Verdict.SAME:
            clause = f"{join_names(names)} {'is' if is_one else 'are'} not significantly different from {other}"
        elif verdict is Verdict.EQUAL:
            clause = f"{join_names(names)} {'is' if is_one else 'are'} as good as {other}"
        else:
            clause = f"{join_names(names)} against {other}: {verdict}"
        clauses.append(clause)
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
