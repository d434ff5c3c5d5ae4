"""Paths of a list: one a line, or divided by NUL."""

import os
from collections.abc import Iterator

BLOCK_BYTES = 2**16
MAX_PATH_BYTES = 2**16
"""No system has longer paths; a longer line is no path."""


def read_list(descriptor: int, name: str) -> Iterator[str]:
    """The paths of a list as they come in, without empty ones.

    What is divided by NUL, as by `find -print0`, is known by its first NUL, which comes with the first block.

    Args:
        descriptor: Of a file or a pipe that is open for reading.
        name: What errors call it.

    Raises:
        ValueError: If something in it is no path.
    """
    rest, divider, num = b"", b"", 0
    while block := os.read(descriptor, BLOCK_BYTES):  # what is there: a slow writer's lines are not waited for
        rest += block
        divider = divider or (b"\0" if b"\0" in rest else b"\n" if b"\n" in rest else b"")
        *whole, rest = rest.split(divider) if divider else [rest]
        for item in whole:
            num += 1
            yield from _path(item, divider, f"{name}, entry {num}")
        if len(rest) > MAX_PATH_BYTES:
            raise ValueError(f"{name}, entry {num + 1}: longer than {MAX_PATH_BYTES} bytes, which no path is")
    yield from _path(rest, divider, f"{name}, entry {num + 1}")


def _path(item: bytes, divider: bytes, place: str) -> Iterator[str]:
    if divider != b"\0":
        item = item.removesuffix(b"\r")
    if b"\0" in item:
        raise ValueError(f"{place}: a NUL in a list of lines. Divide all entries by NUL (find -print0), or none.")
    if item:
        yield os.fsdecode(item)
