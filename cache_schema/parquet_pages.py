"""What the pages of a Parquet file will take in memory, from their headers, before one of them is inflated.

The footer says too how large its columns are, but nobody holds it to that: a page's own header is what readers follow.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import BinaryIO

import numpy as np

from cache_schema.thrift import STRUCT, field_head, skip, zigzag
from cache_schema.thrift_patterns import STRUCT_BODY, VARINT, compile_struct

INFLATED_BYTES, INFLATED_TIMES = 2**28, 100
"""Bytes of all pages that are read at once, and how many times those of the file."""
USUAL_HEADER_BYTES, MAX_HEADER_BYTES = 2**8, 2**16
_UNBOUNDED_ENCODINGS = {7: "DELTA_BYTE_ARRAY"}
"""Each value repeats a part of the one before it: a page of kilobytes gives gigabytes."""
_TYPE, _INFLATED, _PACKED, _DATA, _DICTIONARY, _DATA_2 = 1, 2, 3, 5, 7, 8
"""Fields of a page's header, in Parquet's `PageHeader`."""
_ENCODING = {_DATA: 2, _DICTIONARY: 2, _DATA_2: 4}
"""Field of a page's own header → where its encoding stands in that."""
_DICTIONARY_HEAD = b"\x3c"
"""First byte of a dictionary's own header behind a page's checksum."""


@cache
def header_pattern() -> "re.Pattern[bytes]":
    """A page's header as Arrow writes it: inflated and packed bytes, first byte of the kind's own header, encoding."""
    size = b"\\x15(%s)" % VARINT
    kinds = b"([\\x1c%s])" % re.escape(_DICTIONARY_HEAD)
    of_kind = rb"\x15" + VARINT + size + STRUCT_BODY
    return compile_struct(rb"\x15" + VARINT, size, size, rb"\x15" + VARINT, kinds, of_kind, rb"\x00")


def check_pages(
    file: BinaryIO, num_bytes: int, places: np.ndarray, row_groups: Sequence[int], columns: Iterable[int]
) -> set[int]:
    """Refuse columns that take more memory than such a file can need.

    Args:
        file: The file; its position changes.
        num_bytes: Of the file.
        places: Of its pages, (groups, columns, 2), as `RowGroups` has them.
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
    for of_group in places[np.array(row_groups, int)][:, columns].tolist():
        for position, (start, end) in zip(columns, of_group, strict=True):
            for size, is_dictionary in _walk_pages(file, start, end, position):
                inflated += size
                shared |= {position} if is_dictionary else set()
                if inflated > most:
                    raise ValueError(f"its pages inflate to more than {most:,} bytes in a file of {num_bytes:,}")
    return shared


def _walk_pages(file: BinaryIO, start: int, end: int, column: int) -> Iterator[tuple[int, bool]]:
    """Inflated size of each page, and whether it is a dictionary."""
    pattern = header_pattern()
    while start < end:
        encodings: list[int | None]
        file.seek(start)
        found = pattern.match(file.read(min(USUAL_HEADER_BYTES, end - start)))
        if found is not None:
            inflated, packed, encoding = (zigzag(each, 0)[0] for each in found.group(1, 2, 4))
            at, is_dictionary, encodings = found.end(), found[3] == _DICTIONARY_HEAD, [encoding]
        else:
            file.seek(start)
            try:
                sizes, of_kinds, at = _parse_header(file.read(min(MAX_HEADER_BYTES, end - start)))
            except (IndexError, RecursionError) as error:
                raise ValueError(f"a page of column {column} has no header") from error
            inflated, packed = sizes.get(_INFLATED, -1), sizes.get(_PACKED, -1)
            is_dictionary, encodings = _DICTIONARY in of_kinds, [*of_kinds.values()]
        if inflated < 0 or packed < 0:
            raise ValueError(f"a page of column {column} does not say its size")
        for each in encodings:
            if each in _UNBOUNDED_ENCODINGS:
                name = _UNBOUNDED_ENCODINGS[each]
                raise ValueError(f"column {column} is in encoding {name}, which is not read: write it plain")
        yield inflated, is_dictionary
        start += at + packed


def _parse_header(data: bytes) -> tuple[dict[int, int], dict[int, int | None], int]:
    """Integers of a page's header by their fields, encodings by the field of the kind's own header, and its length."""
    sizes: dict[int, int] = {}
    encodings: dict[int, int | None] = {}
    at = field = 0
    while head := data[at]:
        at, field = field_head(data, at, field)
        kind = head & 15
        if 4 <= kind <= 6:
            sizes[field], at = zigzag(data, at)
        elif kind == STRUCT and field in _ENCODING:
            encodings[field], at = _parse_encoding(data, at, _ENCODING[field])
        else:
            at = skip(data, at, kind)
    return sizes, encodings, at + 1


def _parse_encoding(data: bytes, at: int, wanted: int) -> tuple[int | None, int]:
    found, field = None, 0
    while head := data[at]:
        at, field = field_head(data, at, field)
        if field == wanted and 4 <= head & 15 <= 6:
            found, at = zigzag(data, at)
        else:
            at = skip(data, at, head & 15)
    return found, at + 1
