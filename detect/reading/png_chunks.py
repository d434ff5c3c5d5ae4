"""The chunks of a PNG file, walked without unpacking anything."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 200_000
"""More than the largest picture needs, written in pieces of 8 kB."""
NOT_PIXELS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
"""Chunks that no pixel depends on, and that can be packed small."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a chunk lies in its file.

    Attributes:
        name: Four bytes.
        start: Of its content.
        end: Of its content; its checksum follows.
    """

    name: bytes
    start: int
    end: int


def walk_chunks(data: bytes) -> Iterator[Chunk]:
    """The whole chunks of a PNG file in their order, at most `MAX_CHUNKS`; none of another file."""
    if not data.startswith(SIGNATURE):
        return
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield Chunk(name, at + 8, at + 8 + length)
        at += 12 + length


def without_texts(data: bytes) -> bytes:
    """The same PNG file without texts and colour profile; other bytes as they are."""
    kept, since = [], 0
    for chunk in walk_chunks(data):
        if chunk.name in NOT_PIXELS:
            kept.append(data[since : chunk.start - 8])
            since = chunk.end + 4
    return b"".join([*kept, data[since:]]) if kept else data
