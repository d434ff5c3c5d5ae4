"""The texts of EXIF data, wherever they lie in a file. Read by hand: Pillow warns and raises at what is broken."""

import struct
from collections.abc import Generator, Iterator

MAX_TAGS = 500
MAX_TEXT_BYTES = 2**16
MAX_PLACES = 4
"""More EXIF data than these are not looked for in a file."""
NAMES = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x9286: "UserComment",
}
_MORE_TAGS = 0x8769
"""Points at the tags of EXIF itself, beside those of TIFF."""
_BYTES, _TEXT, _ANY = 1, 2, 7
"""Types of a tag's value, one byte each."""
_HEADERS = {b"II*\0": "<", b"MM\0*": ">"}


def exif_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Names and texts of the EXIF data in a file, at most `MAX_TEXT_BYTES` of each text."""
    for header, order in _HEADERS.items():
        at = data.find(header)
        for _ in range(MAX_PLACES):
            if at < 0:
                break
            yield from _read_block(data, at, order)
            at = data.find(header, at + 1)


def _read_block(data: bytes, start: int, order: str) -> Iterator[tuple[str, str]]:
    try:
        first = start + struct.unpack_from(f"{order}I", data, start + 4)[0]
        more = yield from _read_tags(data, start, first, order)
        if more:
            yield from _read_tags(data, start, start + more, order)
    except struct.error:
        return  # it points out of the file: broken, or no EXIF data at all


def _read_tags(data: bytes, start: int, at: int, order: str) -> Generator[tuple[str, str], None, int]:
    """Names and texts of one list of tags; it returns where another one lies, 0 where there is none."""
    more = 0
    for i in range(min(struct.unpack_from(f"{order}H", data, at)[0], MAX_TAGS)):
        entry = at + 2 + 12 * i
        tag, kind, count, value = struct.unpack_from(f"{order}HHII", data, entry)
        if tag == _MORE_TAGS:
            more = value
        elif tag in NAMES and kind in (_BYTES, _TEXT, _ANY):
            place = entry + 8 if count <= 4 else start + value
            text = _decode(data[place : place + min(count, MAX_TEXT_BYTES)], order)
            if text:
                yield NAMES[tag], text
    return more


def _decode(value: bytes, order: str) -> str:
    if value.startswith(b"UNICODE\0"):
        value = value[8:]
        # The standard leaves the order open. Latin letters have a zero for their higher byte.
        even, odd = value[0::2].count(0), value[1::2].count(0)
        big = even > odd if even != odd else order == ">"
        return value.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0 ")
    if value[:8] in (b"ASCII\0\0\0", bytes(8)):
        value = value[8:]
    return value.decode("utf-8", "replace").strip("\0 ")
