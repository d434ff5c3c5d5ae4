"""AVIF pictures: whether Pillow reads them here, and the file without metadata that it would give up at."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from PIL import features

NEEDS_NEWER_PILLOW = "an AVIF file, which needs a newer Pillow: pip install 'pillow>=11.3'"
_BRANDS = {b"avif", b"avis"}
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03].{7,9})Exif", re.DOTALL)
"""Where an AVIF file says that one of its items is EXIF data."""


def pillow_reads_avif() -> bool:
    """Whether Pillow has the codec: 11.3 or newer, as its wheels are built."""
    return "avif" in features.modules and features.check_module("avif")


@contextmanager
def one_avif_thread() -> Iterator[None]:
    """Have Pillow's decoder of AVIF use one thread a picture, not all cores: workers and threads are many already."""
    if not pillow_reads_avif():
        yield
        return
    plugin: Any = import_module("PIL.AvifImagePlugin")
    before = plugin.DEFAULT_MAX_THREADS
    plugin.DEFAULT_MAX_THREADS = 1
    try:
        yield
    finally:
        plugin.DEFAULT_MAX_THREADS = before


def media_brands(data: bytes) -> list[bytes]:
    """What an ISO media file says that it is, the main brand first; nothing for another file."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), 256)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]


def is_avif(data: bytes) -> bool:
    """Whether a file says that it is AVIF."""
    return not _BRANDS.isdisjoint(media_brands(data))


def without_exif(data: bytes) -> bytes:
    """The same AVIF file without its EXIF data; any other file as it is."""
    return _EXIF_ITEM.sub(rb"\1free", data) if is_avif(data) else data
