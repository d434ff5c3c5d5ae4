"""What the pages of a Parquet file will take in memory, from their headers, before one of them is inflated.

The footer says too how large its columns are, but nobody holds it to that: a page's own header is what readers follow.
"""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from cache_schema.thrift import Compact

INFLATED_BYTES, INFLATED_TIMES = 2**28, 100
"""Bytes of all pages that are read at once, and how many times those of the file."""
MAX_HEADER_BYTES = 2**16
MAX_FOOTER_BYTES = 2**24
"""Of the index of some 25 million samples."""
_UNBOUNDED_ENCODINGS = {7: "DELTA_BYTE_ARRAY"}
"""Each value repeats a part of the one before it: a page of kilobytes gives gigabytes."""
_TYPE, _INFLATED, _PACKED, _DATA, _DICTIONARY, _DATA_2 = 1, 2, 3, 5, 7, 8
"""Fields of a page's header, in Parquet's `PageHeader`."""
_ENCODING = {_DATA: 2, _DICTIONARY: 2, _DATA_2: 4}
"""Field of a page's own header → where its encoding stands in that."""
_ROW_GROUPS, _COLUMNS, _FILE, _META, _ENCRYPTED = 4, 1, 1, 3, (8, 9)
_NUM_VALUES, _PACKED_BYTES, _FIRST_PAGE, _DICTIONARY_PAGE = 5, 7, 9, 11
"""Fields of `FileMetaData`, `RowGroup`, `ColumnChunk` and `ColumnMetaData`."""

Places = list[list[tuple[int, int]]]
"""Where the pages of each column of each row group begin and end in the file."""


def read_places(file: BinaryIO, num_bytes: int, num_columns: int) -> Places:
    """Where a file's pages lie, by its footer.

    Raises:
        ValueError: If the footer is too large, or cannot be followed.
    """
    file.seek(max(0, num_bytes - 8))
    footer_bytes = int.from_bytes(file.read(4), "little")
    if footer_bytes > min(MAX_FOOTER_BYTES, num_bytes - 8):
        raise ValueError(f"its footer has {footer_bytes:,} bytes: expected {MAX_FOOTER_BYTES:,} at most")
    file.seek(num_bytes - 8 - footer_bytes)
    try:
        groups: Any = Compact(file.read(footer_bytes)).struct().get(_ROW_GROUPS) or []
        places = [[_find(chunk, num_bytes) for chunk in group[_COLUMNS]] for group in groups]
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("its footer cannot be followed") from error
    if any(len(columns) != num_columns for columns in places):
        raise ValueError(f"a row group has not {num_columns} columns")
    return places


def _find(chunk: dict[int, Any], num_bytes: int) -> tuple[int, int]:
    if _FILE in chunk or any(field in chunk for field in _ENCRYPTED):
        raise ValueError("a column lies in another file, or is encrypted")
    meta = chunk[_META]
    if not meta[_NUM_VALUES]:  # no page is read
        return 0, 0
    start = min(meta[_FIRST_PAGE], meta.get(_DICTIONARY_PAGE) or meta[_FIRST_PAGE])
    end = start + meta[_PACKED_BYTES]
    if not 0 < start <= end <= num_bytes:
        raise ValueError("a column lies outside the file")
    return start, end


def check_pages(
    file: BinaryIO, num_bytes: int, places: Places, row_groups: Iterable[int], columns: Iterable[int]
) -> set[int]:
    """Refuse columns that take more memory than such a file can need.

    Args:
        file: The file; its position changes.
        num_bytes: Of the file.
        places: Of its pages.
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
    for group in row_groups:
        for position in columns:
            for size, is_dictionary in _walk_pages(file, *places[group][position], position):
                inflated += size
                shared |= {position} if is_dictionary else set()
                if inflated > most:
                    raise ValueError(f"its pages inflate to more than {most:,} bytes in a file of {num_bytes:,}")
    return shared


def _walk_pages(file: BinaryIO, start: int, end: int, column: int) -> Iterator[tuple[int, bool]]:
    """Inflated size of each page, and whether it is a dictionary."""
    while start < end:
        file.seek(start)
        reader = Compact(file.read(min(MAX_HEADER_BYTES, end - start)))
        try:
            header = reader.struct()
        except (IndexError, RecursionError) as error:
            raise ValueError(f"a page of column {column} has no header") from error
        inflated, packed = header.get(_INFLATED), header.get(_PACKED)
        if not isinstance(inflated, int) or not isinstance(packed, int) or inflated < 0 or packed < 0:
            raise ValueError(f"a page of column {column} does not say its size")
        for field, at in _ENCODING.items():
            inner = header.get(field)
            encoding = inner.get(at) if isinstance(inner, dict) else None
            if encoding in _UNBOUNDED_ENCODINGS:
                name = _UNBOUNDED_ENCODINGS[encoding]
                raise ValueError(f"column {column} is in encoding {name}, which is not read: write it plain")
        yield inflated, _DICTIONARY in header
        start += reader.at + packed
