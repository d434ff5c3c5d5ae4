"""Thrift's compact protocol, as far as headers and footers of Parquet files need it: integers, and what is skipped.

pyarrow shows the same numbers, but a footer of strangers ends the whole process there, in C++. All functions raise
IndexError where the bytes end first, and RecursionError at more than `MAX_DEPTH` structs in one another. A footer has
half a million structs: functions on bytes are three times as fast as an object that reads them.
"""

MAX_DEPTH = 10
LIST, STRUCT = 9, 12
"""Kinds of values; 4 to 6 are integers, 8 is text."""


def zigzag(data: bytes, at: int) -> tuple[int, int]:
    """An integer, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value >> 1 ^ -(value & 1), at


def field_head(data: bytes, at: int, field: int) -> tuple[int, int]:
    """Place behind the header of a struct's field, and the field's number, after the number of the one before it.

    The lower four bits of the header's first byte are the kind of the value; a zero in its place ends the struct.
    """
    head = data[at]
    if head > 15:
        return at + 1, field + (head >> 4)
    number, at = zigzag(data, at + 1)
    return at, number


def list_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Number and kind of a list's elements, and the place of the first."""
    head = data[at]
    at += 1
    if head >> 4 < 15:
        return head >> 4, head & 15, at
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, head & 15, at


def skip(data: bytes, at: int, kind: int, depth: int = 0) -> int:
    """Place behind a value that is not looked at; of text or a list it may lie behind the last byte."""
    if 4 <= kind <= 6:
        while data[at] > 127:
            at += 1
        return at + 1
    if kind == 8:
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return at + value
    if kind == STRUCT:
        return _skip_struct(data, at, depth)
    if kind in (LIST, 10):
        number, of, at = list_head(data, at)
        if of <= 3:
            return at + number
        for _ in range(number):
            if 4 <= of <= 6:  # the commonest, without another call
                while data[at] > 127:
                    at += 1
                at += 1
            else:
                at = _skip_struct(data, at, depth + 1) if of == STRUCT else skip(data, at, of, depth + 1)
        return at
    if kind in (1, 2, 3, 7):
        return at + (0, 0, 0, 1, 0, 0, 0, 8)[kind]
    raise IndexError


def _skip_struct(data: bytes, at: int, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise RecursionError
    while head := data[at]:
        at += 1
        if head < 16:
            while data[at] > 127:
                at += 1
            at += 1
        kind = head & 15
        if 4 <= kind <= 6:
            while data[at] > 127:
                at += 1
            at += 1
        elif kind == 8 and data[at] < 128:  # a short text
            at += 1 + data[at]
        elif kind > 2:
            at = skip(data, at, kind, depth + 1)
    return at + 1
