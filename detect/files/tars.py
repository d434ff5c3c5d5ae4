"""Pictures of a tar, by its headers: members are read at their places when their turn comes, nothing is unpacked."""

import io
import os
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from cache_schema import ImageRejected, ObjectPath, Place, Status, open_plain
from detect.files.skipped import LINKS, SPECIAL, Skipped
from detect.picture import MAX_FILE_BYTES, Picture

MAX_HEADER_BYTES = 2**20
"""Of a long name or of a member's extended header: a tar that claims more would fill the memory."""
_MAGIC, _MAGIC_OFFSET = b"ustar", 257
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
"""Beginning of a compressed file → the program that undoes it."""
_COMPRESSED_SUFFIXES = (".tgz", ".tbz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


def is_tar(path: Place) -> bool:
    """Whether a regular file is a tar, by its name or its first header; an object by its name alone.

    Raises:
        ValueError: If it is a compressed one: its members cannot be read at their places.
        OSError: If it cannot be read.
    """
    named = path.name.lower().endswith((".tar", *_COMPRESSED_SUFFIXES))
    if isinstance(path, ObjectPath) and not named:
        return False  # a list of a million pictures would else ask for each twice
    with open_plain(path, tail_bytes=1) as file:
        head = file.read(_MAGIC_OFFSET + len(_MAGIC))
    if named:
        for magic, program in _COMPRESSED.items():
            if head.startswith(magic):
                raise ValueError(f"{path} is a compressed tar, which is not read: unpack it first ({program})")
    return named or head[_MAGIC_OFFSET:] == _MAGIC


def read_tar(path: Place, skipped: Skipped, name: str = "") -> Iterator[Picture]:
    """The pictures of a tar in their order, each named `<name>/<member>`.

    Fields beside a picture (`<key>.json` after `<key>.jpg`) are passed over. Links, devices and other files are
    counted. Where the tar is damaged it ends with a picture, named as the tar, that says so when it is loaded.

    Args:
        path: A regular file, or an object. It is not changed while this lasts.
        skipped: Counts what is no picture.
        name: As it was written; by default the path.
    """
    name, stem = name or str(path), ""
    try:
        with open_plain(path) as file:
            for member in _members(file):
                base = os.path.basename(member.name)
                if base == f"{stem}.json" or member.isdir():
                    continue
                if member.issym() or member.islnk():
                    skipped.add(LINKS)
                elif not member.isreg() or member.issparse():
                    skipped.add(SPECIAL)
                elif skipped.is_picture(base):
                    stem = os.path.splitext(base)[0]
                    yield _picture(path, name, member)
    except (tarfile.TarError, OSError, ValueError, RecursionError) as error:
        yield _broken(name, str(error) or type(error).__name__)


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Headers one after the other; unlike tarfile's own loop it keeps none, and an end within the tar is an error."""
    with tarfile.open(fileobj=cast(BinaryIO, _Headers(file)), mode="r:") as archive:
        before = -1
        while (member := archive.next()) is not None:
            if member.size < 0 or archive.offset <= before:
                raise tarfile.ReadError(f"the header at byte {member.offset} is damaged")
            before = archive.offset
            cast(Any, archive).members.clear()  # it would hold every header that it has read
            yield member
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"the header at byte {archive.offset} is damaged or cut short")


class _Headers(io.RawIOBase):
    """A file of which only headers are read, so that a hostile length is refused before memory is taken."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes, at most {MAX_HEADER_BYTES} are read")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _picture(path: Place, name: str, member: tarfile.TarInfo) -> Picture:
    offset, size = member.offset_data, member.size
    return Picture(f"{name}/{member.name}", lambda: read_at(path, offset, size))


def read_at(path: Place, offset: int, size: int) -> bytes:
    """A member's bytes, within `MAX_FILE_BYTES`.

    Raises:
        ImageRejected: If it is larger, or the tar ends inside it.
        OSError: If the tar cannot be read.
    """
    if size > MAX_FILE_BYTES:
        raise ImageRejected(Status.TOO_LARGE, f"more than {MAX_FILE_BYTES} bytes")
    with open_plain(path, tail_bytes=1) as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise ImageRejected(Status.UNREADABLE, f"the tar ends inside it: {len(data)} of {size} bytes are there")
    return data


def _broken(path: str, reason: str) -> Picture:
    def load() -> bytes:
        raise ImageRejected(Status.UNREADABLE, f"the tar cannot be read further: {' '.join(reason.split())}")

    return Picture(path, load)
