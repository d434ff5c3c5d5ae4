"""Files of a source are opened without leaving it: a link that leads out of the root is not followed unless asked.

Otherwise a picture of another folder would be packed, because someone had put a link to it into the source.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cache_schema import ObjectPath, Place, file_size, read_plain

LEADS_OUT = "a link that leads out of the source: not followed unless asked (--follow_links true)"
A_FOLDER = "a folder, or a link to one that was read already"
CHANGING = "a link that leads to itself, or that changed while the source was read"


class FileRejected(Exception):
    """A file cannot be used; the text is the reason in rejected.csv."""


@dataclass(frozen=True)
class Root:
    """The folder that a source's paths lie below."""

    folder: Place
    """It may be a link itself, or lie in object storage, which has no links."""
    follow_links: bool = False
    """Whether links that lead out of it are followed."""

    def leads_out(self, path: str) -> bool:
        """Whether links on the way to a path lead out of the folder, and are not to be followed.

        Args:
            path: Below the folder.
        """
        if self.follow_links or isinstance(self.folder, ObjectPath):
            return False
        return _real_parts(self.folder, path) is None

    def read(self, path: str, max_bytes: int) -> bytes:
        """The bytes of a regular file, or of an object.

        Args:
            path: Below the folder.
            max_bytes: Size that it may have.

        Raises:
            FileRejected: If it is no regular file, is too large, or lies outside.
            OSError: If it cannot be read.
            StorageError: If object storage does not answer, or refuses.
            ValueError: If no object can have such a path.
        """
        if isinstance(self.folder, ObjectPath):
            return _read_object(self.folder / path, max_bytes)
        with os.fdopen(_open(self.folder, path, follow_links=self.follow_links), "rb") as file:
            status = os.fstat(file.fileno())
            _check_regular(status)
            if status.st_size > max_bytes:
                raise FileRejected(f"{status.st_size} bytes, at most {max_bytes}")
            return file.read()


def below(folder: Place, path: str) -> Place:
    """What lies at a path below a folder; the folder itself for an empty one."""
    return folder / path if path else folder


def _read_object(path: ObjectPath, max_bytes: int) -> bytes:
    try:
        return read_plain(path, max_bytes)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise FileRejected(f"{file_size(path)} bytes, at most {max_bytes}") from error


def _real_parts(folder: Path, path: str) -> tuple[str, ...] | None:
    """Where a path leads once all links are followed, below the folder; None if that is outside."""
    real, top = Path(os.path.realpath(folder / path)), Path(os.path.realpath(folder))
    return real.relative_to(top).parts if real.is_relative_to(top) else None


def _open(folder: Path, path: str, *, follow_links: bool) -> int:
    """A descriptor of the regular file at a path below a folder."""
    if follow_links:
        _check_regular((folder / path).stat())
        return os.open(folder / path, _FILE)
    top = os.open(folder, _FOLDER)
    try:
        try:
            return _open_below(top, tuple(path.split("/")))
        except _LinkFoundError:
            parts = _real_parts(folder, path)
            if parts is None:
                raise FileRejected(LEADS_OUT) from None
        try:
            return _open_below(top, parts)
        except _LinkFoundError:
            raise FileRejected(CHANGING) from None
    finally:
        os.close(top)


# Not blocked by a pipe that took a file's place, and nobody's terminal.
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


class _LinkFoundError(Exception):
    """A part of a path is a link."""


def _open_below(top: int, parts: tuple[str, ...]) -> int:
    """A descriptor of a regular file, reached from an open folder through no link at all: nobody can swap one in."""
    folder = top
    try:
        for part in parts[:-1]:
            below = _open_part(part, _FOLDER, folder)
            if folder != top:
                os.close(folder)
            folder = below
        if not parts:
            raise FileRejected(A_FOLDER)
        # Looked at before it is opened: opening a device may do something.
        status = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise _LinkFoundError
        _check_regular(status)
        return _open_part(parts[-1], _FILE, folder)
    finally:
        if folder != top:
            os.close(folder)


def _open_part(part: str, flags: int, folder: int) -> int:
    try:
        return os.open(part, flags | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _LinkFoundError from None
        raise


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FileRejected(A_FOLDER)
    if not stat.S_ISREG(status.st_mode):
        raise FileRejected("no regular file")
