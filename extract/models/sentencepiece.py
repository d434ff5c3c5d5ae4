"""The vocabulary of a SentencePiece file, as T5 tokenizers were saved before there was tokenizer.json.

A file is a protobuf message `ModelProto`: field 1 is repeated and holds a piece (1: text, 2: score), field 3 holds the
normaliser (2: table of characters). Fields that nothing here needs are passed over.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 2**24
"""Of a file; T5's has 792 kB."""
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
"""Kinds of fields."""


def read_pieces(path: Path) -> tuple[list[tuple[str, float]], bytes]:
    """Pieces with their scores in the order of their numbers, and the normaliser's table of characters.

    Raises:
        ValueError: If it is larger than `MAX_BYTES`, or damaged.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {size:,} bytes: expected at most {MAX_BYTES:,}")
    pieces, table = [], b""
    try:
        for number, value in _fields(path.read_bytes()):
            if number == 1:
                pieces.append(_piece(value))
            elif number == 3:
                table = dict(_fields(value)).get(2, b"")
    except (IndexError, struct.error, ValueError) as error:
        raise ValueError(f"{path} is damaged: no pieces can be read from it. Download it again") from error
    if not pieces:
        raise ValueError(f"{path} holds no pieces. Download it again")
    return pieces, table


def _piece(message: bytes) -> tuple[str, float]:
    fields = dict(_fields(message))
    (score,) = struct.unpack("<f", fields.get(2, bytes(4)))
    return fields.get(1, b"").decode("utf-8"), float(score)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each field of a message; of a whole number, no bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind, length = tag & 7, 0
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED_32, _FIXED_64):
            length = 4 if kind == _FIXED_32 else 8
        else:
            raise ValueError(f"kind {kind}")
        if at + length > len(message):
            raise ValueError("cut short")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")
