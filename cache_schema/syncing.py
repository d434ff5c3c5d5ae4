"""Bringing what was written to the disk, so that it is there after a power cut."""

import errno
import logging
import os
from pathlib import Path

from cache_schema.plain_files import open_plain

logger = logging.getLogger(__name__)

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk."""
    with open_plain(path) as f:
        os.fsync(f.fileno())


_told: set[Path] = set()


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where its file system can be asked to.

    What was published in it has its name by then. A failure here is told once a folder and is no failure of the work: a
    command that ended with an error, and its files there, would say what is not so.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC and folder not in _told:
            _told.add(folder)
            logger.warning(
                "%s cannot be synced (%s): what was written is there, but after a power cut files may be missing.",
                folder,
                error.strerror,
            )


def sync_tree(folder: Path) -> None:
    """Bring all that lies in a folder of ours to the disk, and the folder itself."""
    for path in folder.rglob("*"):
        sync_folder(path) if path.is_dir() else sync_file(path)
    sync_folder(folder)
