"""Opening what lies under a name that others may have written: plain files alone, and folders that are no links.

A shared folder, or one that was downloaded, may hold anything under a name that we read or write: a link that leads out
of it, a named pipe that blocks for ever, a device, a file without end.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from cache_schema.addresses import ObjectPath, Place
from cache_schema.object_file import TAIL_BYTES, ObjectFile, open_object
from cache_schema.object_store import read_whole

MAX_JSON_BYTES = 2**26
MAX_JSON_DEPTH = 100
"""Lists and objects within one another; Python's own functions fail at some hundreds."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link, which is not followed here",
}
_OTHER_KIND = (errno.ELOOP, errno.ENXIO, errno.EISDIR)
"""What the system says of a link, of a named pipe or socket, and of a folder."""
_CAREFUL = os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe without a writer would block for ever


class NotPlain(OSError):
    """Something else than a plain file, or than a folder, lies under a name; its text says what, without the name."""

    def __str__(self) -> str:
        """The reason."""
        return str(self.strerror)


def open_plain(path: Place, *, tail_bytes: int = TAIL_BYTES) -> BinaryIO:
    """Open a file for reading; what is no file is refused at once. A link that leads to a file is followed.

    Of an object the ranges that are read come, with a bounded part of it in memory.

    Args:
        path: The file, or object.
        tail_bytes: Of an object's end, which come with the first request.

    Raises:
        NotPlain: If it is a folder, a named pipe, a device or a socket.
        OSError: If it is not there, or cannot be read.
        StorageError: If object storage does not answer, or refuses.
    """
    if isinstance(path, ObjectPath):
        return open_object(path.address, tail_bytes)
    return os.fdopen(_open_checked(path, os.O_RDONLY, stat.S_IFREG), "rb")


def size_of(file: IO[bytes]) -> int:
    """Size of an open file; it stays where it is."""
    at = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(at)
    return size


def read_at(file: BinaryIO, num_bytes: int, start: int) -> bytes:
    """Bytes of an open file from a place on; fewer at its end. Any number of threads may do so at once."""
    if isinstance(file, ObjectFile):
        return file.read_at(num_bytes, start)
    return os.pread(file.fileno(), num_bytes, start)


def identity(file: BinaryIO) -> tuple[str | int, ...]:
    """What tells an open file from every other, and from itself after a change."""
    if isinstance(file, ObjectFile):
        return file.name, file.version, size_of(file)
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def read_plain(path: Place, max_bytes: int) -> bytes:
    """All bytes of a file.

    Args:
        path: The file, or object.
        max_bytes: A larger one is refused before it is read.

    Raises:
        NotPlain: As `open_plain`, or if it is larger.
        OSError: If it is not there, or cannot be read.
        StorageError: If object storage does not answer, or refuses.
    """
    if isinstance(path, ObjectPath):
        return read_whole(path.address, max_bytes)
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > max_bytes else file.read(max_bytes + 1)  # it may grow meanwhile
    if max(size, len(data)) > max_bytes:
        raise NotPlain(errno.EFBIG, f"it is larger than a file of its kind, {max_bytes:,} bytes at most", str(path))
    return data


def read_json(path: Place, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object that a JSON file holds.

    Args:
        path: The file.
        max_bytes: A larger one is refused.

    Raises:
        ValueError: If it is damaged, no plain file, too large or too deep, or holds no object; the error names it.
        OSError: If it is not there, or cannot be read.
    """
    try:
        content = load_json(path, max_bytes)
    except (ValueError, NotPlain) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): restore it, or make it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object: restore it, or make it again")
    return content


def load_json(path: Place, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """What a JSON file holds, for callers that have words of their own.

    Raises:
        ValueError: If it is damaged or too deep; the error does not name it.
        NotPlain: If it is no plain file, or larger than `max_bytes`.
        OSError: If it is not there, or cannot be read.
    """
    try:
        content = json.loads(read_plain(path, max_bytes).decode("utf-8"))
    except RecursionError as error:
        raise ValueError("lists and objects lie in one another too often") from error
    check_depth(content)
    return content


def check_depth(content: Any) -> None:
    """Raise ValueError if lists and objects of JSON lie in one another more than `MAX_JSON_DEPTH` times."""
    layer = [content] if isinstance(content, dict | list) else []
    for _ in range(MAX_JSON_DEPTH):
        layer = [
            inner
            for each in layer
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return
    raise ValueError(f"more than {MAX_JSON_DEPTH} lists and objects lie in one another")


def open_in_place(path: Path, mode: str, **options: Any) -> IO[Any]:
    """Open a file of a fixed name for writing, without following a link: a log, a lock, a journal.

    Args:
        path: The file; made if it is not there.
        mode: `wb` empties it; `a` and `ab+` keep what it holds.
        options: As of the function `open`.

    Raises:
        NotPlain: If a link or anything but a file has the name.
        OSError: If it cannot be written.
    """
    flags = {"wb": os.O_WRONLY, "a": os.O_WRONLY | os.O_APPEND, "ab+": os.O_RDWR | os.O_APPEND}[mode]
    descriptor = _open_checked(path, flags | os.O_CREAT | os.O_NOFOLLOW, stat.S_IFREG)
    if mode == "wb":
        os.ftruncate(descriptor, 0)
    return os.fdopen(descriptor, mode, **options)


def own_folder(path: Path) -> Path:
    """A folder whose name is ours, made if it is not there, its parents too; a link under this name is refused.

    Raises:
        NotPlain: If a link or anything but a folder has the name.
        OSError: If it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError:
        with open_folder(path):
            pass
    return path


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    """The descriptor of a folder, for work on names in it: it stays the same folder, whatever becomes of its name.

    Raises:
        NotPlain: If a link or anything but a folder has the name.
        OSError: If it is not there, or cannot be read.
    """
    descriptor = _open_checked(path, os.O_RDONLY | os.O_NOFOLLOW, stat.S_IFDIR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_checked(path: Path, flags: int, expected: int) -> int:
    """A descriptor of this kind of thing and no other."""
    try:
        descriptor = os.open(path, flags | _CAREFUL, 0o666)
    except OSError as error:
        if error.errno in _OTHER_KIND:
            raise _not_plain(path, stat.S_IFMT(path.lstat().st_mode), expected) from error
        raise
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != expected:
        os.close(descriptor)
        raise _not_plain(path, kind, expected)
    os.set_blocking(descriptor, True)
    return descriptor


def _not_plain(path: Path, kind: int, expected: int) -> NotPlain:
    wanted = "a folder" if expected == stat.S_IFDIR else "a plain file"
    return NotPlain(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}: expected {wanted}", str(path))
