"""What the pages of a Parquet file will take in memory, from their headers, before one of them is inflated.

The footer says too how large its columns are, but nobody holds it to that: a page's own header is what readers follow.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow.parquet as pq

from cache_schema.shown import shown

INFLATED_BYTES, INFLATED_TIMES = 2**28, 100
"""Bytes of all pages that are read at once, and how many times those of the file."""
MAX_HEADER_BYTES = 2**16
MAX_DEPTH = 8
_UNBOUNDED_ENCODINGS = {7: "DELTA_BYTE_ARRAY"}
"""Each value repeats a part of the one before it: a page of kilobytes gives gigabytes."""
_TYPE, _INFLATED, _PACKED, _DATA, _DICTIONARY, _DATA_2 = 1, 2, 3, 5, 7, 8
"""Fields of a page's header, in Parquet's `PageHeader`."""
_ENCODING = {_DATA: 2, _DICTIONARY: 2, _DATA_2: 4}
"""Field of a page's own header → where its encoding stands in that."""


def check_pages(
    file: BinaryIO, num_bytes: int, metadata: pq.FileMetaData, row_groups: Iterable[int], columns: Iterable[int]
) -> set[int]:
    """Refuse columns that take more memory than such a file can need.

    Args:
        file: The file; its position changes.
        num_bytes: Of the file.
        metadata: Its footer.
        row_groups: Row groups that are read,
        columns: and the positions of their columns.

    Returns:
        Columns with a dictionary: a value of it may stand in any number of rows.

    Raises:
        ValueError: If the pages inflate to more than `INFLATED_BYTES` and `INFLATED_TIMES` the file, or cannot be
            followed, or have an encoding whose values are larger than their page.
    """
    most, columns, inflated = INFLATED_BYTES + INFLATED_TIMES * num_bytes, list(columns), 0
    shared: set[int] = set()
    for group in map(metadata.row_group, row_groups):
        for position in columns:
            column = group.column(position)
            start = column.data_page_offset
            if column.has_dictionary_page:
                start = min(start, column.dictionary_page_offset)
            end = start + column.total_compressed_size
            name = shown(column.path_in_schema)
            if not 0 < start <= end <= num_bytes:
                raise ValueError(f"column {name} lies outside the file")
            for size, is_dictionary in _walk_pages(file, start, end, name):
                inflated += size
                shared |= {position} if is_dictionary else set()
                if inflated > most:
                    raise ValueError(f"its pages inflate to more than {most:,} bytes in a file of {num_bytes:,}")
    return shared


def _walk_pages(file: BinaryIO, start: int, end: int, name: str) -> Iterator[tuple[int, bool]]:
    """Inflated size of each page, and whether it is a dictionary."""
    while start < end:
        file.seek(start)
        reader = _Compact(file.read(min(MAX_HEADER_BYTES, end - start)))
        try:
            header = reader.struct()
        except (IndexError, RecursionError) as error:
            raise ValueError(f"a page of column {name} has no header") from error
        inflated, packed = header.get(_INFLATED), header.get(_PACKED)
        if not isinstance(inflated, int) or not isinstance(packed, int) or inflated < 0 or packed < 0:
            raise ValueError(f"a page of column {name} does not say its size")
        for field, at in _ENCODING.items():
            inner = header.get(field)
            encoding = inner.get(at) if isinstance(inner, dict) else None
            if encoding in _UNBOUNDED_ENCODINGS:
                raise ValueError(f"column {name} is in encoding {_UNBOUNDED_ENCODINGS[encoding]}, which is not read")
        yield inflated, _DICTIONARY in header
        start += reader.at + packed


class _Compact:
    """Reads a struct of Thrift's compact protocol: field → integer, or the fields of a struct; others are passed over.

    Raises IndexError where the bytes end first.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, object]:
        """The fields up to the end of a struct."""
        if depth > MAX_DEPTH:
            raise RecursionError
        fields: dict[int, object] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            fields[field] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        if kind in (1, 2):  # true, false
            return None
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind in (3, 7):
            self._skip(1 if kind == 3 else 8)
        elif kind == 8:
            self._skip(self._varint())
        elif kind in (9, 10):
            self._list(depth)
        elif kind == 12:
            return self.struct(depth + 1)
        else:
            raise IndexError
        return None

    def _list(self, depth: int) -> None:
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._varint()
        for _ in range(size):
            if head & 15 in (1, 2):
                self._skip(1)
            else:
                self._value(head & 15, depth + 1)

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _skip(self, num: int) -> None:
        self.at += num
        if self.at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
