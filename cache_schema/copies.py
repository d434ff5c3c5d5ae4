"""Copies of objects on this machine, in a folder that any number of processes share (`cache_schema.room`).

A copy has a name of its object's address, version and size, and gets it once it is whole, so that what a killed run
left is a part that the next one goes on with. A copy that goes while it is being read stays readable to its end.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Self

from cache_schema.addresses import ObjectPath, Place
from cache_schema.errors import StorageError
from cache_schema.files import naming
from cache_schema.object_file import ObjectFile
from cache_schema.object_store import PART_BYTES, find, read_range
from cache_schema.plain_files import open_in_place, open_plain, size_of
from cache_schema.room import FOLDER, PART, folder, lock_of, make_room, remove_oldest
from cache_schema.syncing import sync_file

NUM_PARTS = 4
"""Ranges of an object that are on their way at once."""


@dataclass(frozen=True)
class Original:
    """What is copied: an object in one of its versions."""

    path: ObjectPath
    version: str
    """What tells its content from another under the same address: an entity tag, a hash."""
    num_bytes: int

    @classmethod
    def of(cls, path: Place, file: BinaryIO) -> Self | None:
        """What an open file reads, if it is an object."""
        if isinstance(path, ObjectPath) and isinstance(file, ObjectFile):
            return cls(path, file.version, size_of(file))
        return None

    @property
    def name(self) -> str:
        """File name of the copy."""
        text = f"{self.path}\n{self.version}\n{self.num_bytes}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def copy(self) -> Path:
        """Where the copy lies, once it is whole."""
        return folder() / self.name

    @property
    def part(self) -> Path:
        """Where it grows; its name tells how large it will be."""
        return folder() / f"{self.name}.{self.num_bytes}{PART}"

    @property
    def lock(self) -> Path:
        """What stands for the work on it."""
        return lock_of(self.name)


def find_copy(original: Original) -> BinaryIO | None:
    """A copy that is there, opened; None if it is not there, or not whole."""
    path = original.copy
    try:
        file = open_plain(path)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # evicted in between; it can be read still
        os.utime(path)
    return file


def forget(original: Original) -> None:
    """Remove a copy whose content is not its original's."""
    original.copy.unlink(missing_ok=True)


@contextmanager
def temporary_copy(path: ObjectPath) -> Iterator[Path]:
    """An object's bytes in a temporary file, fresh from the service: for who doubts them.

    Raises:
        FileNotFoundError: If there is no such object.
        StorageError: If the service does not answer or refuses.
    """
    with tempfile.TemporaryDirectory(prefix="lare-") as folder, naming(Path(folder)):
        target = Path(folder) / path.name
        found = find(path.address)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", str(path))
        with target.open("xb") as file:
            for data in _read_parts(Original(path, found.version, found.num_bytes), 0):
                file.write(data)
        yield target


def make_copy(original: Original) -> None:
    """Copy an object. The caller has the claim; a part that is there is gone on with."""
    make_room(original.num_bytes, but=original.part)
    with open_in_place(original.part, "ab+") as file:
        start = min(file.seek(0, os.SEEK_END), original.num_bytes)
        for data in _read_parts(original, start):
            _append(file, data)
    sync_file(original.part)
    original.part.rename(original.copy)


def _read_parts(original: Original, start: int) -> Iterator[bytes]:
    """Ranges of an object in their order, a few of them on their way at once."""
    version = original.version if original.version.startswith('"') else None
    starts = iter(range(start, original.num_bytes, PART_BYTES))

    def read(at: int) -> bytes:
        return read_range(original.path.address, at, min(at + PART_BYTES, original.num_bytes), version)

    with ThreadPoolExecutor(NUM_PARTS) as threads:
        pending = [threads.submit(read, at) for _, at in zip(range(NUM_PARTS), starts, strict=False)]
        while pending:
            yield pending.pop(0).result()
            pending += [threads.submit(read, at) for _, at in zip(range(1), starts, strict=False)]


def _append(file: IO[bytes], data: bytes) -> None:
    at = file.tell()
    while True:
        try:
            file.write(data)
            file.flush()
            return
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            file.seek(at)
            file.truncate()
            if not remove_oldest():
                raise StorageError(
                    f"{folder()}: the disk is full, and no older copy is there to remove. Name a folder on another "
                    f"disk with {FOLDER}."
                ) from error
