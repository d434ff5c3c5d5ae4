"""Files and folders below a source: in sorted order, without what programs keep there for themselves."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

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


def walk_files(root: Path, folder: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Paths below `root` of all that is no folder below `folder`, in sorted order. Links to folders are followed.

    What is no file either (a broken link, a pipe) is given too, so that it is rejected instead of forgotten. Hidden
    folders are left out with a line.
    """
    status = os.stat(root / folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        logger.warning("%s: a link to a folder that it lies in, left out", root / folder)
        return
    with os.scandir(root / folder) as scan:
        entries = sorted((entry.name, entry.is_dir()) for entry in scan)
    for name, is_folder in entries:
        path = f"{folder}/{name}" if folder else name
        if not is_folder:
            yield path
        elif is_hidden(name):
            tell_hidden(root / path)
        else:
            yield from walk_files(root, path, (*above, identity))


def tell_hidden(folder: Path) -> None:
    """Log that a hidden folder is left out."""
    logger.warning("%s: a hidden folder, left out", folder)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; without hidden ones."""
    with os.scandir(folder) as scan:
        return sorted(entry.name for entry in scan if entry.is_dir() and not is_hidden(entry.name))


def loose_files(folder: Path) -> list[str]:
    """Names of all that is no folder in a folder, sorted."""
    with os.scandir(folder) as scan:
        return sorted(entry.name for entry in scan if not entry.is_dir())


def hidden_folders(folder: Path) -> list[str]:
    """Names of the hidden folders in a folder, sorted."""
    with os.scandir(folder) as scan:
        return sorted(entry.name for entry in scan if entry.is_dir() and is_hidden(entry.name))
