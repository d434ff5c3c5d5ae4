"""What lies in a tar, by its headers: plain files one after the other, and nothing that a tar can hold besides."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cache_schema.errors import DatasetError
from cache_schema.plain_files import open_plain
from cache_schema.shown import shown

MAX_PAX_BYTES = 2**16
"""Of a header that holds a long name."""
MAX_HOLES = 16
"""A file whose size is so many times what is on the disk is mostly holes: hours of zeros."""
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.XGLTYPE: "a global header",
}


@dataclass(frozen=True)
class Member:
    """A file in a tar, by its header."""

    name: str
    offset: int
    """Of its first byte in the tar."""
    size: int
    """In bytes."""


def read_members(tar: Path) -> Iterator[Member]:
    """The members of a tar in their order, from the headers alone: no image is read.

    Raises:
        DatasetError: If the tar cannot be read to its end, or holds anything but plain files.
    """
    try:
        with open_plain(tar) as file:
            yield from _walk(file, os.fstat(file.fileno()).st_size)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DatasetError(f"{tar} cannot be read as a tar ({error}). Restore it or pack the dataset again.") from error


def is_mostly_holes(tar: Path) -> bool:
    """Whether nearly all of a file is not on the disk, where its file system tells."""
    with open_plain(tar) as file:
        size, num_bytes, at = os.fstat(file.fileno()).st_size, 0, 0
        try:
            while at < size and num_bytes * MAX_HOLES < size:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
                at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                num_bytes += at - start
        except OSError:  # no data from here on
            pass
    return num_bytes * MAX_HOLES < size


def _walk(file: BinaryIO, num_bytes: int) -> Iterator[Member]:
    """Headers that are ours: `tarfile` alone would also follow links, fill holes and read headers of gigabytes."""
    at, long_name = 0, None
    while True:
        file.seek(at)
        header = file.read(tarfile.BLOCKSIZE)
        if at > 0 and not header.strip(b"\0"):
            break
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        name, start = long_name or info.name, at + tarfile.BLOCKSIZE
        if not 0 <= info.size <= num_bytes - start:
            raise ValueError(f"it ends inside {shown(name)}")
        if info.type == tarfile.XHDTYPE and long_name is None:
            long_name = _parse_path(file, info.size)
        elif info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            yield Member(name, start, info.size)
            long_name = None
        else:
            raise ValueError(f"{shown(name)} is {_KINDS.get(info.type, 'something else')}: expected plain files alone")
        at = start + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _parse_path(file: BinaryIO, size: int) -> str:
    """The one record of a PAX header that a tar of ours may have, "31 path=…" with its own length before it."""
    record = file.read(size) if size <= MAX_PAX_BYTES else b""
    length, _, rest = record.partition(b" ")
    if not length.isdigit() or length != b"%d" % len(record) or rest[:5] != b"path=" or rest[-1:] != b"\n":
        raise ValueError("a header says more than a long name: expected plain files alone")
    return rest[5:-1].decode("utf-8")
