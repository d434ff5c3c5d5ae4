"""How many groups the intervals of an answer rest on, in words, and what a reader must know of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from train.scoring.intervals import describe_few_groups

SPREAD = "95 % interval by group, ± standard deviation over seeds."
OLD_INTERVALS = (
    "Intervals without a number of groups are of an earlier version. They are quantiles over resampled groups, which "
    "are too narrow for few groups and near 0 or 1."
)
UNKNOWN = "an unknown number"


def find_counts(numbers: Any) -> set[int | None]:
    """The number of groups beside each interval in the numbers of an answer; None: an earlier version did not keep it.

    Args:
        numbers: Or a part of them. Intervals are fields "interval" or "…_interval"; what has none is passed over.
    """
    counts = set[int | None]()
    for each in _find_mappings(numbers):
        if any(name.endswith("interval") and ends is not None for name, ends in each.items()):
            counts.add(each.get("n_groups"))
    return counts


def _find_mappings(numbers: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(numbers, Mapping):
        yield numbers
    if isinstance(numbers, Mapping | list | tuple):
        for each in numbers.values() if isinstance(numbers, Mapping) else numbers:
            yield from _find_mappings(each)


def describe_groups(parts: Mapping[str, Any]) -> str:
    """For the note of a table: how many groups its intervals rest on.

    Args:
        parts: What the reader may know a part of the table by, an image source or a split → its numbers.
    """
    named: dict[str, list[str]] = {}
    for name, numbers in parts.items():
        if counts := find_counts(numbers):
            named.setdefault(_as_text(counts), []).append(name)
    if not named:
        return "There are no intervals."
    if set(named) == {UNKNOWN}:
        return "The number of groups was not kept."
    if len(named) == 1:
        return f"Groups behind each interval: {next(iter(named))}."
    texts = "; ".join(f"{text} ({', '.join(names)})" for text, names in named.items())
    return f"Groups behind the intervals: {texts}."


def _as_text(counts: set[int | None]) -> str:
    known = sorted(count for count in counts if count is not None)
    if not known:
        return UNKNOWN
    text = f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
    return text if None not in counts else f"{text}, or {UNKNOWN}"


def describe_spread(parts: Mapping[str, Any]) -> str:
    """For the note of a table of values over seeds: what stands in its cells, and the groups behind it."""
    return f"{SPREAD} {describe_groups(parts)}"


def warn_of_groups(numbers: Any) -> list[str]:
    """Sentences for the limits of an answer: that intervals are old, or rest on few groups."""
    counts = find_counts(numbers)
    known = [count for count in counts if count is not None]
    few = describe_few_groups(min(known)) if known else None
    return [*([few] if few else []), *([OLD_INTERVALS] if None in counts else [])]
