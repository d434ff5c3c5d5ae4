"""The chunks of a PNG file, and the file with those alone that its pixels depend on."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 200_000
"""More than the largest picture needs, written in pieces of 8 kB."""
MAX_TURNING_TEXTS = 4
MAX_TEXT_BYTES = 2**20
"""Of a text, unpacked: Pillow's limit."""
_TURNING_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type exif")
"""Texts that may say which side is up."""


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


def only_pixels(data: bytes) -> bytes:
    """The same PNG file with the whole chunks alone that its picture depends on; any other file as it is.

    Texts, colour profiles, animations and what is damaged beside the pixels are left out. Transparency stays, and so
    do EXIF and small texts that say which side is up.

    Args:
        data: Any bytes. At most `MAX_TURNING_TEXTS` texts are unpacked, each to `MAX_TEXT_BYTES`.
    """
    kept, since, num_texts = [], 0, 0
    for chunk in walk_chunks(data):
        content = memoryview(data)[chunk.start : chunk.end]
        if chunk.name == b"tRNS" or not chunk.name[0] & 0x20:  # a critical chunk's name begins with a capital
            continue
        if chunk.name == b"eXIf" and _is_whole(data, chunk):
            continue
        if num_texts < MAX_TURNING_TEXTS and bytes(content[:32]).partition(b"\0")[0] in _TURNING_TEXTS:
            num_texts += 1
            if _is_whole(data, chunk) and _is_small_text(chunk.name, bytes(content[: MAX_TEXT_BYTES + 1])):
                continue
        kept.append(data[since : chunk.start - 8])
        since = chunk.end + 4
    return b"".join([*kept, data[since:]]) if kept else data


def _is_whole(data: bytes, chunk: Chunk) -> bool:
    checksum = int.from_bytes(data[chunk.end : chunk.end + 4], "big")
    return zlib.crc32(memoryview(data)[chunk.start - 4 : chunk.end]) == checksum


def _is_small_text(name: bytes, content: bytes) -> bool:
    """Whether a text chunk can be read within the limit."""
    rest = content.partition(b"\0")[2]
    if len(content) > MAX_TEXT_BYTES or name not in (b"tEXt", b"zTXt", b"iTXt"):
        return False
    if name == b"zTXt":
        return rest[:1] == b"\0" and _unpacks_small(rest[1:])
    if name == b"iTXt" and rest[:1] == b"\1":
        return rest[1:2] == b"\0" and _unpacks_small(rest[2:].split(b"\0", 2)[-1])
    return True


def _unpacks_small(packed: bytes) -> bool:
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, MAX_TEXT_BYTES)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail
