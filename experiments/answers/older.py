"""Answers of earlier versions: values do not tell how many seeds are behind them, where the settings do.

Intervals are quantiles over resampled groups there, without their number: `experiments.answers.groups` says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from experiments.answers.answer import Table

OLD_NAMES = {"num_groups": "n_groups"}
VALUE = {"mean", "interval", "sd"}
"""What a value of an earlier version has at least."""


def add_seeds(numbers: Any, num_seeds: int | None) -> Any:
    """Numbers whose values tell "num_seeds": that of the answer where a value has a spread over seeds, or else 0.

    Groups are called "n_groups" everywhere.

    Args:
        numbers: Of an answer, or a part of them.
        num_seeds: Of the answer's settings; None: not known, and left out.
    """
    if isinstance(numbers, list):
        return [add_seeds(each, num_seeds) for each in numbers]
    if not isinstance(numbers, Mapping):
        return numbers
    told = {OLD_NAMES.get(name, name): add_seeds(each, num_seeds) for name, each in numbers.items()}
    if told.keys() >= VALUE and "num_seeds" not in told and num_seeds is not None:
        told["num_seeds"] = 0 if told["sd"] is None else num_seeds
    return told


OLD_RULE = (
    "A difference is significant where its whole 95 % interval lies on one side of 0 and it is larger than its "
    "standard deviation over seeds."
)
"""What notes of tables said, of intervals by the images alone."""
NO_RULE = (
    "An earlier version wrote this table: its intervals are of the images alone, and detectors had fewer than five "
    "seeds, too few for a verdict."
)
OLD_TITLES = {"detector, image + permuted maps": "detector, image + map; maps permuted in the test alone"}
"""Column that has another meaning today."""


def update_tables(tables: Iterable[Table]) -> tuple[Table, ...]:
    """Tables that are no function of the numbers, where an earlier version wrote them: notes and heads as of today."""
    return tuple(_update(each) if OLD_RULE in each.note or _is_old(each) else each for each in tables)


def _is_old(table: Table) -> bool:
    return "detector, image + one constant map" not in table.columns and bool(OLD_TITLES.keys() & set(table.columns))


def _update(table: Table) -> Table:
    columns = tuple(OLD_TITLES.get(name, name) for name in table.columns)
    return replace(table, columns=columns, note=table.note.replace(OLD_RULE, NO_RULE))
