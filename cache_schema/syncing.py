"""Bringing what was written to the disk, so that it is there after a power cut."""

import errno
import os
from pathlib import Path

from cache_schema.plain_files import open_plain

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk."""
    with open_plain(path) as f:
        os.fsync(f.fileno())


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where its file system can be asked to."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Bring all that lies in a folder of ours to the disk, and the folder itself."""
    for path in folder.rglob("*"):
        sync_folder(path) if path.is_dir() else sync_file(path)
    sync_folder(folder)
