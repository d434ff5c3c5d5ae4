"""Files and folders below a source: in sorted order, without what programs keep there for themselves."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from extract.packing.opening import Root

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


_Identity = tuple[int, int]


def _walk(root: Root, folder: str, above: tuple[_Identity, ...], seen: set[_Identity]) -> Iterator[str]:
    identity = _identity(root, folder)
    if identity in above:
        logger.warning("%s: a link to a folder that it lies in, left out", root.folder / folder)
        return
    seen.add(identity)
    with os.scandir(root.folder / folder) as scan:
        entries = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in scan)
    for name, is_folder, is_link in entries:
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
    status = os.stat(root.folder / folder)
    return status.st_dev, status.st_ino


def tell_hidden(folder: Path) -> None:
    """Log that a hidden folder is left out."""
    logger.warning("%s: a hidden folder, left out", folder)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; without hidden ones."""
    with os.scandir(folder) as scan:
        return sorted(entry.name for entry in scan if _is_folder(entry) and not is_hidden(entry.name))


def loose_files(folder: Path) -> list[str]:
    """Names of all that is no folder in a folder, sorted."""
    with os.scandir(folder) as scan:
        return sorted(entry.name for entry in scan if not _is_folder(entry))


def hidden_folders(folder: Path) -> list[str]:
    """Names of the hidden folders in a folder, sorted."""
    with os.scandir(folder) as scan:
        return sorted(entry.name for entry in scan if _is_folder(entry) and is_hidden(entry.name))
