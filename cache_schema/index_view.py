"""Columns of an index whose rows are read where they are asked for: a test split without the other splits in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema.index import INDEX_SCHEMA, SCANNED_TARS, TEXT_TARS, Dataset


@dataclass(frozen=True)
class IndexView:
    """Some columns of the whole index; `select` and `take` are those of the table that `Dataset.table` gives.

    Attributes:
        dataset: Whose index it is.
        column_names: Of `INDEX_SCHEMA`.
    """

    dataset: Dataset
    column_names: Sequence[str]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def select(self, columns: Sequence[str]) -> "IndexView":
        """Other columns."""
        return IndexView(self.dataset, list(columns))

    def take(self, rows: np.ndarray | Sequence[int]) -> pa.Table:
        """Some rows, in the order in which they are named; the tars that they are of are read, some at a time.

        Args:
            rows: Rows in the whole index, (n,), int.

        Raises:
            IndexError: If there is no such row.
            DatasetError: As `Dataset.rows`.
        """
        wanted = np.asarray(rows, np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of an index of {len(self)}")
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        of_row = np.searchsorted(self._ends, ascending, side="right")
        tars = np.unique(of_row)
        schema = pa.schema([INDEX_SCHEMA.field(name) for name in self.column_names])
        parts = [schema.empty_table()]
        for start in range(0, len(tars), SCANNED_TARS):
            chosen = tars[start : start + SCANNED_TARS]
            first, last = np.searchsorted(of_row, [chosen[0], chosen[-1] + 1])
            sizes = np.diff(self._ends, prepend=0)[chosen]
            # Where the rows of each tar begin in what is read, less where they begin in the index.
            shift = np.cumsum(sizes) - self._ends[chosen]
            places = ascending[first:last] + shift[np.searchsorted(chosen, of_row[first:last])]
            parts.append(self.dataset.rows_of(chosen.tolist(), self.column_names).take(places))
        table = pa.concat_tables(parts)
        return table if np.array_equal(ascending, wanted) else table.take(np.argsort(order, kind="stable"))

    @cached_property
    def _ends(self) -> np.ndarray:
        """Row behind the last of each tar, (tars,), int64."""
        return np.cumsum(np.array([tar.num_rows for tar in self.dataset.tars], np.int64))


def find_rows(dataset: Dataset, keys: Sequence[str]) -> np.ndarray:
    """Row of each key in the whole index, (keys,), int64, which is gone through some tars at a time.

    Raises:
        KeyError: If a key is not there.
        DatasetError: As `Dataset.scan`.
    """
    wanted, found, start = pa.array(keys, pa.string()), np.full(len(keys), -1, np.int64), 0
    for _, table in dataset.scan(["key"], TEXT_TARS):
        column = table["key"].cast(pa.string()).combine_chunks()
        places = np.asarray(pc.fill_null(pc.index_in(wanted, value_set=column), -1))
        found = np.where(places >= 0, start + places, found)
        start += len(table)
    if (found < 0).any():
        raise KeyError(keys[int((found < 0).argmax())])
    return found
