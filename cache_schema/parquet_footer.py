"""Where the row groups and pages of a Parquet file lie: known for all, parsed by pyarrow for those that are read.

A footer of 24,000 row groups of 18 columns has 50 MB. As pyarrow's objects it takes a gigabyte, and each process would
hold it. So it is stepped through once by what is needed of it, and pyarrow gets a footer of the groups that are read.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

import numpy as np
import pyarrow.parquet as pq

from cache_schema.thrift import LIST, STRUCT, field_head, list_head, skip, zigzag
from cache_schema.thrift_patterns import (
    INTEGERS,
    PLAIN_STRUCT,
    PLAIN_STRUCTS,
    TEXT,
    VARINT,
    compile_struct,
    decode_varints,
)

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


@cache
def chunk_pattern() -> "re.Pattern[bytes]":
    """A column chunk as Arrow writes it, with the numbers that tell its place, as `_Footer.numbers` has them.

    No integer is stepped over behind these: it might be another page.
    """
    return compile_struct(
        rb"\x26" + VARINT,
        rb"\x1c\x15" + VARINT,
        rb"\x19" + INTEGERS,
        rb"\x19\x18" + TEXT,
        rb"\x15" + VARINT,
        b"\\x16(%s)" % VARINT,  # number of values
        rb"\x16" + VARINT,
        b"\\x16(%s)" % VARINT,  # bytes in the file
        b"\\x26(%s)" % VARINT,  # first page
        b"(?:\\x26(%s))?+" % VARINT,  # page of the dictionary
        rb"[\x1c\x3c]" + PLAIN_STRUCT,  # statistics
        b"(?:\\x19%s)?+" % PLAIN_STRUCTS,
        b"(?:\\x3c%s)?+" % PLAIN_STRUCT,
        rb"\x00\x00",
    )


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

    A footer has half a million column chunks, each of some fifty values: the usual ones are matched whole.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.pattern = data, chunk_pattern()
        self.num_rows: list[int] = []
        self.numbers: list[bytes] = []
        """Of each column chunk: number of values, bytes, places of the first page and of the dictionary's or 0."""
        self.spans: list[tuple[int, int]] = []
        self.num_columns: list[int] = []

    def parse(self, num_bytes: int) -> RowGroups:
        data, at, field = self.data, 0, 0
        rows_at = list_at = None
        while head := data[at]:
            at, field = field_head(data, at, field)
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
        places = _places(decode_varints(b"".join(self.numbers)).reshape(-1, 4), num_bytes)
        places = places.reshape(len(self.spans), columns, 2)
        spans = np.array(self.spans, np.int64).reshape(-1, 2)
        return RowGroups(np.array(self.num_rows, np.int64), places, data, spans, rows_at, list_at)

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
            at, field = field_head(data, at, field)
            if field == _COLUMNS and head & 15 == LIST:
                num_columns, kind, at = list_head(data, at)
                if kind != STRUCT:
                    raise IndexError
                for _ in range(num_columns):
                    found = self.pattern.match(data, at)
                    if found is None:
                        at = self._chunk(at)
                    else:
                        at = found.end()
                        self.numbers.append(b"".join(found.groups(b"\0")))
            elif field == _GROUP_ROWS and head & 15 == 6:
                num_rows, at = zigzag(data, at)
            else:
                at = skip(data, at, head & 15)
        self.num_rows.append(num_rows)
        self.num_columns.append(num_columns)
        return at + 1

    def _chunk(self, at: int) -> int:
        data, field, num_chunks = self.data, 0, len(self.numbers)
        while head := data[at]:
            at, field = field_head(data, at, field)
            if field == _META and head & 15 == STRUCT:
                at = self._column(at)
            elif field == _FILE or field in _ENCRYPTED:
                raise ValueError("a column lies in another file, or is encrypted")
            else:
                at = skip(data, at, head & 15)
        if len(self.numbers) != num_chunks + 1:
            raise IndexError
        return at + 1

    def _column(self, at: int) -> int:
        data, field, found = self.data, 0, [0] * (_DICTIONARY_PAGE + 1)
        while head := data[at]:
            at, field = field_head(data, at, field)
            if head & 15 == 6:
                value, at = zigzag(data, at)
                if 0 < field <= _DICTIONARY_PAGE:
                    found[field] = value
            else:
                at = skip(data, at, head & 15)
        numbers = [found[each] for each in (_NUM_VALUES, _PACKED_BYTES, _FIRST_PAGE, _DICTIONARY_PAGE)]
        if not all(-(2**62) <= number < 2**62 for number in numbers):
            raise ValueError("a column lies outside the file")
        self.numbers.append(b"".join(_varint(number << 1 ^ number >> 63) for number in numbers))
        return at + 1


def _places(numbers: np.ndarray, num_bytes: int) -> np.ndarray:
    """Where the pages of column chunks begin and end, (chunks, 2), int64; of one without values none is read.

    Args:
        numbers: As `_Footer.numbers`, (chunks, 4), int64.
        num_bytes: Of the file.
    """
    num_values, packed, first, dictionary = numbers.T
    starts = np.where(dictionary != 0, np.minimum(first, dictionary), first)
    places = np.where((num_values != 0)[:, None], np.stack([starts, starts + packed], axis=1), 0)
    is_inside = (starts > 0) & (packed >= 0) & (packed <= num_bytes) & (starts <= num_bytes - packed)
    if not (is_inside | (num_values == 0)).all():
        raise ValueError("a column lies outside the file")
    return places


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
