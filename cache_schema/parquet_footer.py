"""Where the row groups and pages of a Parquet file lie: known for all, parsed by pyarrow for those that are read.

A footer of 24,000 row groups of 18 columns has 50 MB. As pyarrow's objects it takes a gigabyte, and each process would
hold it. So it is stepped through once by what is needed of it, and pyarrow gets a footer of the groups that are read.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow.parquet as pq

from cache_schema.thrift import LIST, STRUCT, list_head, skip, zigzag

MAX_FOOTER_BYTES = 2**28
"""Of the index of some 500 million samples."""
_MAGIC = b"PAR1"
_NUM_ROWS, _ROW_GROUPS = 3, 4
"""Fields of `FileMetaData`,"""
_COLUMNS, _GROUP_ROWS = 1, 3
"""of `RowGroup`,"""
_FILE, _META, _ENCRYPTED = 1, 3, (8, 9)
"""of `ColumnChunk`,"""
_NUM_VALUES, _PACKED_BYTES, _FIRST_PAGE, _DICTIONARY_PAGE = 5, 7, 9, 11
"""and of `ColumnMetaData`."""


@dataclass(frozen=True)
class RowGroups:
    """The row groups of a file.

    Attributes:
        num_rows: Of each group, (groups,), int64.
        places: Where the pages of each column begin and end in the file, (groups, columns, 2), int64.
    """

    num_rows: np.ndarray
    places: np.ndarray
    _footer: bytes
    _spans: np.ndarray
    """Where each group's struct begins and ends in the footer, (groups, 2), int64."""
    _rows_at: tuple[int, int]
    _list_at: tuple[int, int]

    def __len__(self) -> int:
        return len(self.num_rows)

    def metadata(self, groups: Sequence[int]) -> pq.FileMetaData:
        """What pyarrow is told of a file that has these groups alone, in this order.

        Raises:
            pyarrow.ArrowException: If pyarrow cannot read the footer.
        """
        footer, (rows, after_rows), (start, end) = self._footer, self._rows_at, self._list_at
        chosen = [footer[self._spans[g, 0] : self._spans[g, 1]] for g in groups]
        num_rows = _varint(2 * int(self.num_rows[list(groups)].sum()))
        head = bytes([len(chosen) << 4 | STRUCT]) if len(chosen) < 15 else bytes([0xF0 | STRUCT]) + _varint(len(chosen))
        parts = [footer[:rows], num_rows, footer[after_rows:start], head, *chosen, footer[end:]]
        data = b"".join(parts)
        return pq.read_metadata(io.BytesIO(_MAGIC + data + len(data).to_bytes(4, "little") + _MAGIC))


def read_row_groups(file: BinaryIO, num_bytes: int) -> RowGroups:
    """The row groups of an open file.

    Args:
        file: The file; its position changes.
        num_bytes: Of the file.

    Raises:
        ValueError: If the footer is too large, or cannot be followed, or a column lies elsewhere.
    """
    file.seek(max(0, num_bytes - 8))
    footer_bytes = int.from_bytes(file.read(4), "little")
    if footer_bytes > min(MAX_FOOTER_BYTES, num_bytes - 8):
        raise ValueError(f"its footer has {footer_bytes:,} bytes: expected {MAX_FOOTER_BYTES:,} at most")
    file.seek(num_bytes - 8 - footer_bytes)
    data = file.read(footer_bytes)
    try:
        return _Footer(data).parse(num_bytes)
    except (IndexError, RecursionError) as error:
        raise ValueError("its footer cannot be followed") from error


class _Footer:
    """Steps through a footer. Raises IndexError where its bytes end first, RecursionError where structs lie too deep.

    Written for speed: a footer has half a million column chunks, each of some fifty values that are stepped over.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.num_rows: list[int] = []
        self.places: list[tuple[int, int]] = []
        self.spans: list[tuple[int, int]] = []
        self.num_columns: list[int] = []

    def parse(self, num_bytes: int) -> RowGroups:
        data, at, field = self.data, 0, 0
        rows_at = list_at = None
        while head := data[at]:
            at, field = self._field(at, field, head)
            start = at
            if field == _ROW_GROUPS and head & 15 == LIST:
                at = self._groups(at)
                list_at = start, at
            else:
                at = skip(data, at, head & 15)
                rows_at = (start, at) if field == _NUM_ROWS and head & 15 == 6 else rows_at
        if rows_at is None or list_at is None or len(set(self.num_columns)) > 1 or min(self.num_rows, default=0) < 0:
            raise ValueError("its footer cannot be followed")
        columns = self.num_columns[0] if self.num_columns else 0
        places = np.array(self.places, np.int64).reshape(len(self.spans), columns, 2)
        if places.size and not (places[..., 1] <= num_bytes).all():
            raise ValueError("a column lies outside the file")
        spans = np.array(self.spans, np.int64).reshape(-1, 2)
        return RowGroups(np.array(self.num_rows, np.int64), places, data, spans, rows_at, list_at)

    def _field(self, at: int, field: int, head: int) -> tuple[int, int]:
        """Place behind a field's header, and the field's number."""
        if head > 15:
            return at + 1, field + (head >> 4)
        number, at = zigzag(self.data, at + 1)
        return at, number

    def _groups(self, at: int) -> int:
        number, kind, at = list_head(self.data, at)
        if kind != STRUCT:
            raise IndexError
        for _ in range(number):
            start = at
            at = self._group(at)
            self.spans.append((start, at))
        return at

    def _group(self, at: int) -> int:
        data, field, num_rows, num_columns = self.data, 0, -1, 0
        while head := data[at]:
            at, field = self._field(at, field, head)
            if field == _COLUMNS and head & 15 == LIST:
                num_columns, kind, at = list_head(data, at)
                if kind != STRUCT:
                    raise IndexError
                for _ in range(num_columns):
                    at = self._chunk(at)
            elif field == _GROUP_ROWS and head & 15 == 6:
                num_rows, at = zigzag(data, at)
            else:
                at = skip(data, at, head & 15)
        self.num_rows.append(num_rows)
        self.num_columns.append(num_columns)
        return at + 1

    def _chunk(self, at: int) -> int:
        data, field, num_chunks = self.data, 0, len(self.places)
        while head := data[at]:
            if head > 15:
                at, field = at + 1, field + (head >> 4)
            else:
                at, field = self._field(at, field, head)
            if field == _META and head & 15 == STRUCT:
                at = self._column(at)
            elif field == _FILE or field in _ENCRYPTED:
                raise ValueError("a column lies in another file, or is encrypted")
            else:
                at = skip(data, at, head & 15)
        if len(self.places) != num_chunks + 1:
            raise IndexError
        return at + 1

    def _column(self, at: int) -> int:
        data, field, found = self.data, 0, [0] * (_DICTIONARY_PAGE + 1)
        while head := data[at]:
            at += 1
            if head > 15:
                field += head >> 4
            else:
                field, at = zigzag(data, at)
            kind = head & 15
            if kind == 6:
                # The commonest value, written out.
                byte = data[at]
                at += 1
                value, shift = byte & 127, 7
                while byte > 127:
                    byte = data[at]
                    at += 1
                    value |= (byte & 127) << shift
                    shift += 7
                if field <= _DICTIONARY_PAGE:
                    found[field] = value >> 1 ^ -(value & 1)
            else:
                at = skip(data, at, kind)
        self.places.append(_place(found))
        return at + 1


def _place(found: Sequence[int]) -> tuple[int, int]:
    if not found[_NUM_VALUES]:  # no page is read
        return 0, 0
    start = min(found[_FIRST_PAGE], found[_DICTIONARY_PAGE] or found[_FIRST_PAGE])
    end = start + found[_PACKED_BYTES]
    if not 0 < start <= end < 2**62:
        raise ValueError("a column lies outside the file")
    return start, end


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
