"""What lies in a folder of this machine, or below a prefix in object storage: by one listing, not a request a file."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from cache_schema.addresses import ObjectPath, Place
from cache_schema.object_store import find, list_folder

NUM_AT_ONCE = 32
"""Requests to object storage at a time."""

T = TypeVar("T")
R = TypeVar("R")


class Listed(NamedTuple):
    """A file as its folder lists it."""

    name: str
    num_bytes: int
    version: str
    """Another one after each change of an object; empty for a file of this machine."""


def list_files(folder: Place) -> list[Listed]:
    """The files directly in a folder, sorted by name, by one listing; what is there besides is left out.

    Raises:
        OSError: If the folder is not there, or cannot be read.
        StorageError: If object storage does not answer, or refuses.
    """
    if isinstance(folder, ObjectPath):
        objects, _ = list_folder(folder.address)
        return sorted(Listed(each.key.rpartition("/")[2], each.num_bytes, each.version) for each in objects)
    with os.scandir(folder) as entries:
        return sorted(Listed(entry.name, entry.stat().st_size, "") for entry in entries if entry.is_file())


def list_names(folder: Place) -> list[str]:
    """Names of all that lies in a folder, sorted: files, folders and what else there is.

    Raises:
        OSError: If the folder is not there, or cannot be read.
        StorageError: If object storage does not answer, or refuses.
    """
    if isinstance(folder, ObjectPath):
        objects, folders = list_folder(folder.address)
        return sorted(name.rstrip("/").rpartition("/")[2] for name in (*(each.key for each in objects), *folders))
    return sorted(os.listdir(folder))


class Entry(NamedTuple):
    """What lies directly below a prefix in object storage."""

    name: str
    is_folder: bool
    """Whether it is the prefix of further objects."""


def list_entries(folder: ObjectPath) -> list[Entry]:
    """Objects and folders directly below a prefix, sorted by name, by one listing; a name may be both, object first.

    Without the empty object of the folder's own name, which some programs put there for the folder.

    Raises:
        StorageError: If object storage does not answer, or refuses, or holds a name there that cannot be asked for.
    """
    objects, folders = list_folder(folder.address)
    names = [Entry(each.key.rpartition("/")[2], False) for each in objects if each.key != folder.key]
    return sorted([*names, *(Entry(key.rstrip("/").rpartition("/")[2], True) for key in folders)])


def file_size(path: Place) -> int | None:
    """Bytes of a file; None if none is there.

    Raises:
        StorageError: If object storage does not answer, or refuses.
    """
    if isinstance(path, ObjectPath):
        found = find(path.address)
        return None if found is None else found.num_bytes
    return path.stat().st_size if path.is_file() else None


def map_files(function: Callable[[T], R], items: Iterable[T], folder: Place) -> Iterator[R]:
    """A function of each file of a folder, in their order: many at a time where each waits for object storage."""
    if not isinstance(folder, ObjectPath):
        yield from map(function, items)
        return
    with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
        yield from threads.map(function, items)
