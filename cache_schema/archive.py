"""A store's zip file as a closed box: no member is inflated, none stands twice, none lies over another.

The file may come from strangers. It is opened without waiting, and its directory is bounded before it is read.
"""

import struct
import zipfile
import zlib
from types import TracebackType
from typing import BinaryIO, Self

from cache_schema.addresses import Place
from cache_schema.object_file import TAIL_BYTES, ObjectFile
from cache_schema.plain_files import open_plain, read_at, size_of
from cache_schema.shown import shown

MAX_DIRECTORY_BYTES = 2**24
"""Of a zip file's directory: what lists some 100,000 chunks, and takes ten times as much memory."""
_END, _END_64, _LOCATOR = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_END_BYTES, _LOCATOR_BYTES, _END_64_BYTES = 22, 20, 56
_ENCRYPTED = 1
_ENTRY, _ENTRY_SIGN = struct.Struct("<4s6H3I5H2I"), b"PK\1\2"
"""Of a directory, before a member's name: checksum at 7, length of the name at 10, place in the file last."""
_LOCAL, _LOCAL_BYTES = b"PK\3\4", 30
"""Header of a member, before its name and what else is told of it: "extra", whose length stands last."""
_USUAL_EXTRA_BYTES = 32


class Archive:
    """An open zip file, as a context.

    Args:
        path: The file, or object.
        tail_bytes: Of an object's end, which come with the first request.

    Raises:
        OSError: If there is no such file, or it is a named pipe, a device or a folder.
        ValueError, zipfile.BadZipFile: If it is none, or holds what a store does not.
    """

    def __init__(self, path: Place, tail_bytes: int = TAIL_BYTES) -> None:
        self._file = open_plain(path, tail_bytes=tail_bytes)
        try:
            self.num_bytes = size_of(self._file)
            _check_directory(self._file, self.num_bytes)
            self._zip = zipfile.ZipFile(self._file)
            self._members = _check_members(self._zip.infolist(), self.num_bytes)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    @property
    def names(self) -> set[str]:
        """Names of its members."""
        return set(self._members)

    def size(self, name: str) -> int:
        """Bytes of a member.

        Raises:
            ValueError: If there is no such member.
        """
        if name not in self._members:
            raise ValueError(f"it holds no {name}")
        return self._members[name].file_size

    def read(self, name: str, max_bytes: int) -> bytes:
        """All bytes of a member.

        Raises:
            ValueError: If there is no such member, or it is larger.
        """
        if self.size(name) > max_bytes:
            raise ValueError(f"{name} has {self.size(name):,} bytes: expected {max_bytes:,} at most")
        return self._zip.read(self._members[name])

    def read_at_once(self, name: str, max_bytes: int, tail_bytes: int) -> tuple[bytes, bytes]:
        """As `read`, for members that bring a checksum of their own, which follows them: without the zip file's.

        By one request; of a file of this machine without a copy of what was read. Any number of threads may do so at
        once.

        Args:
            name: Of the member.
            max_bytes: As in `read`.
            tail_bytes: Of the member's own checksum.

        Returns:
            The member without its checksum, and that.

        Raises:
            ValueError: As `read`, or if it lies elsewhere, or ends too early.
        """
        size, start, named = self.size(name), self._members[name].header_offset, name.encode()
        if size > max_bytes:
            raise ValueError(f"{name} has {size:,} bytes: expected {max_bytes:,} at most")
        at, is_remote = _LOCAL_BYTES + len(named), isinstance(self._file, ObjectFile)
        data = read_at(self._file, at + (_USUAL_EXTRA_BYTES + size if is_remote else 0), start)
        if data[:4] != _LOCAL or data[_LOCAL_BYTES:at] != named:
            raise ValueError(f"{name} does not lie where the directory has it")
        at += int.from_bytes(data[_LOCAL_BYTES - 2 : _LOCAL_BYTES], "little")
        middle, end = at + max(0, size - tail_bytes), at + size
        if len(data) >= end:
            return data[at:middle], data[middle:end]
        most, rest = (read_at(self._file, b - a, start + a) for a, b in ((at, middle), (middle, end)))
        if len(most) + len(rest) < size:
            raise ValueError(f"the file ends inside {name}")
        return most, rest


def read_outermost(path: Place, name: str, max_bytes: int, tail_bytes: int) -> bytes | None:
    """A member that is the first or the last of a file's directory, without parsing the directory; else None.

    Args:
        path: The file, or object.
        name: Of the member.
        max_bytes: Of the member, at most.
        tail_bytes: Of the file's end that are read. A member whose place they do not tell is not found.

    Raises:
        OSError: As `Archive`.
        zipfile.BadZipFile: If the member is damaged.
    """
    with open_plain(path, tail_bytes=tail_bytes) as file:
        num_bytes, named = size_of(file), name.encode()
        tail = read_at(file, tail_bytes, max(0, num_bytes - tail_bytes))
        end = len(tail) - _END_BYTES
        size, offset = (int.from_bytes(tail[end + at : end + at + 4], "little") for at in (12, 16))
        if end < 0 or not tail[end:].startswith(_END) or offset + size != num_bytes - _END_BYTES:
            return None
        for at in (end - size, end - _ENTRY.size - len(named)):
            entry = _ENTRY.unpack_from(tail, at) if end - size <= at and 0 <= at <= end - _ENTRY.size else (b"",)
            if entry[0] != _ENTRY_SIGN or tail[at + _ENTRY.size : at + _ENTRY.size + entry[10]] != named:
                continue
            flags, method, checksum, packed, length, start = (entry[i] for i in (3, 4, 7, 8, 9, 16))
            if flags & _ENCRYPTED or method or packed != length or length > max_bytes:
                return None
            header = _LOCAL_BYTES + len(named)
            data = read_at(file, header + length, start)
            if data[:4] != _LOCAL or data[_LOCAL_BYTES:header] != named or data[28:30] != b"\0\0":
                return None
            if zlib.crc32(data[header:]) != checksum or len(data) != header + length:
                raise zipfile.BadZipFile(f"{name} fails its checksum")
            return data[header:]
    return None


def _check_directory(file: BinaryIO, num_bytes: int) -> None:
    """Raise ValueError if the directory is larger than any store's: zipfile makes an object of each entry."""
    tail_bytes = min(num_bytes, _END_BYTES + _LOCATOR_BYTES + _END_64_BYTES)
    file.seek(num_bytes - tail_bytes)
    tail = file.read(tail_bytes).rjust(_END_BYTES + _LOCATOR_BYTES + _END_64_BYTES, b"\0")
    end_64, locator, end = tail[:_END_64_BYTES], tail[_END_64_BYTES:-_END_BYTES], tail[-_END_BYTES:]
    if not end.startswith(_END) or end[-2:] != b"\0\0":
        raise zipfile.BadZipFile("expected a whole zip file without a comment, and nothing behind it")
    size = int.from_bytes(end[12:16], "little")
    if locator.startswith(_LOCATOR):
        size = int.from_bytes(end_64[40:48], "little") if end_64.startswith(_END_64) else num_bytes
    if size > MAX_DIRECTORY_BYTES:
        raise ValueError(f"its directory has {size:,} bytes: expected {MAX_DIRECTORY_BYTES:,} at most")
    file.seek(0)


def _check_members(infos: list[zipfile.ZipInfo], num_bytes: int) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if info.is_dir() and not info.file_size:  # of a program that has zipped the store again
            continue
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"{shown(info.filename)} is compressed: expected a zip file without compression")
        if info.flag_bits & _ENCRYPTED:
            raise ValueError(f"{shown(info.filename)} is encrypted")
        if info.filename in members:
            raise ValueError(f"{shown(info.filename)} stands in it twice")
        members[info.filename] = info
    if sum(info.file_size for info in infos) > num_bytes:
        raise ValueError("its members have more bytes than the file: they lie over one another")
    return members
