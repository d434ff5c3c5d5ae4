"""What the index says of each row, as one small number: split, label, source and subset, read by row group."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import Dataset, check_distinct_keys

MAX_KEYS = 5_000_000
"""Samples whose keys and places are checked before training. Of more, `verify` compares the keys, and the places of a
tar's rows are checked when they are read."""
TARS_AT_ONCE = 64
"""Whose rows' places are checked at a time."""
MAX_COMPARED = 16
"""Kinds that each row is compared with; of more, each row's kind is looked up, which takes ten times as long as one."""
MAX_PRODUCT = 2**22
"""Combinations of values that are counted in an array; more are sorted."""


class Cell(NamedTuple):
    """Values that rows have in common."""

    split: str
    label: int | None
    image_source: str = ""
    """Empty where sources were not asked for."""
    subset: str = ""


@dataclass(frozen=True)
class Cells:
    """The cell of each row of the whole index.

    Attributes:
        kinds: The cells that occur.
        of_row: Number of each row's cell in `kinds`, (rows,), the smallest unsigned integers that hold it.
        has_sources: Whether cells tell source and subset.
    """

    kinds: tuple[Cell, ...]
    of_row: np.ndarray
    has_sources: bool

    @classmethod
    def read(cls, dataset: Dataset, *, with_sources: bool) -> "Cells":
        """Read an index once, some tars at a time.

        Args:
            dataset: The packed images.
            with_sources: Whether source and subset are needed, which takes twice as long.

        Raises:
            DatasetError: If the index cannot be read.
        """
        if (num_rows := sum(tar.num_rows for tar in dataset.tars)) <= MAX_KEYS:
            check_distinct_keys(dataset)  # a sample that stands in two tars would be trained on twice
            _check_places(dataset)
        names = Cell._fields if with_sources else Cell._fields[:2]
        numbers: dict[Cell, int] = {}
        of_row = np.empty(num_rows, np.uint8)
        at = 0
        for _, table in dataset.scan(names):
            codes, found = _encode(table, names)
            places = [numbers.setdefault(Cell(*values), len(numbers)) for values in found]
            if (kind := np.min_scalar_type(len(numbers))).itemsize > of_row.itemsize:
                of_row = of_row.astype(kind)
            of_row[at : at + len(codes)] = np.array(places, of_row.dtype)[codes] if len(codes) else 0
            at += len(codes)
        return cls(tuple(numbers), of_row, with_sources)

    def rows_where(self, is_wanted: Callable[[Cell], bool]) -> np.ndarray:
        """Which rows of the whole index are of wanted cells: (rows,), bool."""
        wanted = np.array([*map(is_wanted, self.kinds), False])  # one more, so that no kinds at all can be indexed
        rows: np.ndarray
        if wanted.sum() > MAX_COMPARED:
            rows = wanted[self.of_row]
            return rows
        rows = np.zeros(len(self.of_row), bool)
        for number in np.flatnonzero(wanted).astype(self.of_row.dtype):
            rows |= self.of_row == number
        return rows


def _check_places(dataset: Dataset) -> None:
    """Refuse rows that say they are of another tar: their labels would be lies. Raises DatasetError."""
    num_tars = len(dataset.tars)
    for first in range(0, num_tars, TARS_AT_ONCE):
        dataset.rows_of(range(first, min(first + TARS_AT_ONCE, num_tars)), ())


def _encode(table: pa.Table, names: tuple[str, ...]) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """Number of each row's combination of values, (rows,), and the combinations in the order of their numbers."""
    codes: np.ndarray = np.zeros(len(table), np.int32)
    product = 1
    columns: list[list[Any]] = []
    for name in names:
        column = table[name].combine_chunks()
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        values = [*column.dictionary.to_pylist(), None]
        indices = pc.fill_null(column.indices, len(values) - 1).to_numpy()
        columns.append(values)
        product *= len(values)
        codes = codes.astype(np.int64) if product > MAX_PRODUCT else codes
        codes *= len(values)
        codes += indices
    if product <= MAX_PRODUCT:
        found = np.flatnonzero(np.bincount(codes, minlength=1))
        places = np.zeros(product, np.min_scalar_type(len(found)))
        places[found] = np.arange(len(found))
        codes = places[codes]
    else:
        found, codes = np.unique(codes, return_inverse=True)
    combinations = []
    for code in found.tolist() if len(codes) else []:
        parts = []
        for values in reversed(columns):
            code, place = divmod(code, len(values))
            parts.append(values[place])
        combinations.append(tuple(reversed(parts)))
    return codes, combinations
