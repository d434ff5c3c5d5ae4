"""Files and folders below a source: in sorted order, without what programs keep there for themselves."""

import logging
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from cache_schema import ObjectPath, Place, list_entries
from extract.packing.opening import Root, below

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif", ".avif", ".jxl"),
)
_OF_PROGRAMS = ("__MACOSX", "@eaDir")
"""What unpacking on macOS and the photo station of a NAS leave behind."""


def is_hidden(name: str) -> bool:
    """Whether a folder is a program's own: `.cache`, `.ipynb_checkpoints`, `__MACOSX`."""
    return name.startswith(".") or name in _OF_PROGRAMS


def is_image_name(path: str) -> bool:
    """Whether a file is an image by its name."""
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def walk_files(root: Root, folder: str) -> Iterator[str]:
    """Paths below the root of all that is no folder below `folder`, in sorted order.

    What is no file either (a broken link, a pipe) is given too, so that it is rejected instead of forgotten. So is a
    link to a folder that leads out of the root or was read already. Hidden folders are left out with a line.
    """
    if root.leads_out(folder):
        yield folder
    else:
        yield from _walk(root, folder, (), set())


_Identity = tuple[int, int] | str


class _Entry(NamedTuple):
    """What lies in a folder, under its name."""

    name: str
    is_folder: bool
    is_link: bool


def _entries(folder: Place) -> list[_Entry]:
    """All that lies in a folder, sorted by name."""
    if isinstance(folder, ObjectPath):
        return [_Entry(name, is_folder, False) for name, is_folder in list_entries(folder)]
    with os.scandir(folder) as scan:
        return sorted(_Entry(entry.name, _is_folder(entry), entry.is_symlink()) for entry in scan)


def _walk(root: Root, folder: str, above: tuple[_Identity, ...], seen: set[_Identity]) -> Iterator[str]:
    identity = _identity(root, folder)
    if identity in above:
        logger.warning("%s: a link to a folder that it lies in, left out", root.folder / folder)
        return
    seen.add(identity)
    for name, is_folder, is_link in _entries(below(root.folder, folder)):
        path = f"{folder}/{name}" if folder else name
        if not is_folder:
            yield path
        elif is_hidden(name):
            tell_hidden(root.folder / path)
        elif is_link and (root.leads_out(path) or _identity(root, path) in seen - {*above, identity}):
            yield path
        else:
            yield from _walk(root, path, (*above, identity), seen)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(root: Root, folder: str) -> _Identity:
    if isinstance(root.folder, ObjectPath):
        return folder
    status = os.stat(root.folder / folder)
    return status.st_dev, status.st_ino


def tell_hidden(folder: Place) -> None:
    """Log that a hidden folder is left out."""
    logger.warning("%s: a hidden folder, left out", folder)


def subfolders(folder: Place) -> list[str]:
    """Names of the folders in a folder, sorted; without hidden ones."""
    return [entry.name for entry in _entries(folder) if entry.is_folder and not is_hidden(entry.name)]


def loose_files(folder: Place) -> list[str]:
    """Names of all that is no folder in a folder, sorted."""
    return [entry.name for entry in _entries(folder) if not entry.is_folder]


def hidden_folders(folder: Place) -> list[str]:
    """Names of the hidden folders in a folder, sorted."""
    return [entry.name for entry in _entries(folder) if entry.is_folder and is_hidden(entry.name)]
