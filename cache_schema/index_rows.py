"""Whether rows of an index can be those of its dataset: in the order of the tars, each key once, values in range."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema.keys import SPLITS
from cache_schema.shown import shown

PLACES = ("tar", "row")
"""Columns that say which sample a row is."""
MAX_IMAGE_BYTES = 2**30
_LEAST = {"row": 0, "offset": 0, "size": 0, "width": 1, "height": 1}
_MOST = {"size": MAX_IMAGE_BYTES}


def check_rows(table: pa.Table, tars: Sequence[tuple[str, int]]) -> None:
    """Check the rows of some tars, but for whether a key stands in two of them (`check_keys`).

    Args:
        table: Columns of `INDEX_SCHEMA`, `tar` and `row` among them.
        tars: Name of each tar, and its rows.

    Raises:
        ValueError: If a row stands elsewhere than dataset.json says, or a value is not of its kind.
    """
    _check_places(table, tars)
    _check_values(table)


def check_values(table: pa.Table, num_rows: int) -> None:
    """Check the values of rows, and their number, without their places. Raises as `check_rows`."""
    if len(table) != num_rows:
        raise ValueError(f"it has {len(table):,} rows of these tars, dataset.json lists {num_rows:,}")
    _check_values(table)


def _check_values(table: pa.Table) -> None:
    for name in table.column_names:
        column, field = table[name], table.schema.field(name)
        if column.null_count and not field.nullable:
            raise ValueError(f"{name} is missing in {column.null_count:,} rows")
        if name in _LEAST and len(column) and pc.min(column).as_py() < _LEAST[name]:
            raise ValueError(f"{name} is {pc.min(column).as_py()} in a row: expected {_LEAST[name]} or more")
        if name in _MOST and len(column) and pc.max(column).as_py() > _MOST[name]:
            raise ValueError(f"{name} is {pc.max(column).as_py():,} in a row: expected {_MOST[name]:,} at most")
    if (
        "sha256" in table.column_names
        and not pc.all(pc.match_substring_regex(table["sha256"], "^[0-9a-f]{64}$")).as_py()
    ):
        raise ValueError("a sha256 is not 64 hexadecimal digits")
    for name, choices in (("split", [*SPLITS]), ("label", [0, 1, None])):
        if name in table.column_names and (other := _find_values(table[name]) - set(choices)):
            raise ValueError(f"{name} is '{shown(str(other.pop()))}' in a row: expected one of {choices}")


def _find_values(column: pa.ChunkedArray) -> set[object]:
    """Values of a column; of integers the least and the most, which are all if these are two that follow."""
    if pa.types.is_integer(column.type):
        return set(pc.min_max(column).as_py().values())
    return set(column.unique().to_pylist())


def _check_places(table: pa.Table, tars: Sequence[tuple[str, int]]) -> None:
    numbers = [num for _, num in tars]
    if len(table) != sum(numbers):
        raise ValueError(f"it has {len(table):,} rows of these tars, dataset.json lists {sum(numbers):,}")
    expected = np.repeat(np.arange(len(tars)), numbers)
    names = pa.array([name for name, _ in tars], pa.string())
    found = pc.fill_null(pc.index_in(table["tar"], value_set=names), -1).to_numpy()
    if (wrong := np.flatnonzero(found != expected)).size:
        at = int(wrong[0])
        name = shown(str(table["tar"][at].as_py()))
        raise ValueError(f"a row of {tars[expected[at]][0]} says that it belongs to '{name}'")
    starts = np.cumsum([0, *numbers[:-1]]) if numbers else np.zeros(0, np.int64)
    rows = np.arange(len(table)) - np.repeat(starts, numbers)
    if not np.array_equal(pc.fill_null(table["row"], -1).to_numpy(), rows):
        raise ValueError("its rows are not in the order of the samples in their tars")


def check_keys(keys: pa.ChunkedArray) -> None:
    """Raise ValueError if a key stands in two rows: its sample would count twice. Takes 2 s for a million keys."""
    if pc.count_distinct(keys).as_py() == len(keys):
        return
    counts = pc.value_counts(keys)
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    raise ValueError(repeated_keys(len(twice), str(twice[0].as_py())))


def repeated_keys(number: int, example: str) -> str:
    """What is wrong with an index in which keys stand in several rows."""
    return f"{number:,} keys stand in several rows, such as '{shown(example)}'"
