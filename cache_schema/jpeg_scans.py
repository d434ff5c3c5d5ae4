"""How often a JPEG goes over its pixels: a scan of 160 bytes may cost as much time as all pixels do."""

import re
import struct

MAX_SCANNED_PIXELS = 4_000_000_000
"""Scans times pixels. Progressive files have some ten scans, and 100 million pixels are the most that is decoded."""
_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In the data of a scan; a byte 0xff of the data itself is followed by 0, and restart markers belong to it."""
_END = 0xD9
_FRAMES = {0xC0 + number for number in range(16)} - {0xC4, 0xC8, 0xCC}
_ONE_SCAN_FRAMES = (0xC0, 0xC1)
_MAX_SEGMENTS = 100


def most_scans(num_pixels: int) -> int:
    """How many scans a picture of so many pixels may have."""
    return max(1, MAX_SCANNED_PIXELS // max(1, num_pixels))


def has_more_scans(data: bytes, most: int) -> bool:
    """Whether a JPEG's first picture has more than `most` scans.

    Args:
        data: A whole file.
        most: From `most_scans`.
    """
    if _is_interleaved(data) or data.count(_SCAN) <= most:
        return False
    number, at = 0, 2  # counted with care: previews in EXIF and pictures behind the first have scans too
    while number <= most and (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.start() + 1], found.end()
        if marker == _END:
            break
        number += marker == _SCAN[1]
        if at + 2 <= len(data) and marker != 0xD8 and marker != 0x01:  # these two have no length
            at += int.from_bytes(data[at : at + 2], "big")
    return number > most


def _is_interleaved(data: bytes) -> bool:
    """Whether the first scan holds all of a picture that is not progressive: no decoder reads on behind it."""
    at, num_components = 2, None
    for _ in range(_MAX_SEGMENTS):
        if at + 5 > len(data):
            return False
        prefix, marker, length = struct.unpack_from(">BBH", data, at)
        if prefix != 0xFF:
            return False
        if marker == _SCAN[1]:
            return num_components is not None and data[at + 4] == num_components
        if marker in _FRAMES:
            if marker not in _ONE_SCAN_FRAMES or at + 10 > len(data):
                return False
            num_components = data[at + 9]
        at += 2 + length
    return False
