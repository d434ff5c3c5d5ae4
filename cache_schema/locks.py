"""One writer at a time for a dataset folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cache_schema.errors import DatasetError
from cache_schema.plain_files import NotPlain, open_in_place


@contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a dataset folder that is to be written. It ends with the process, however that ends.

    Raises:
        DatasetError: If another process holds it, the file system knows no locks, or the folder that it lies in cannot
            be written to.
    """
    folder = Path(folder).absolute()
    path = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = _lock_file(path, folder)
    except NotPlain as error:
        raise DatasetError(f"{path}, the lock of {folder.name}, cannot be opened ({error}). Remove it.") from error
    except OSError as error:
        raise DatasetError(
            f"{folder.parent} cannot be written to ({str(error.strerror or error).lower()}), and the lock of "
            f"{folder.name} lies there while it is written: choose another folder, or make this one writable."
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: so nobody else's file goes
        file.close()


def _lock_file(path: Path, folder: Path) -> IO[bytes]:
    while True:
        file = open_in_place(path, "ab+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.lstat()):
                return file
        except FileNotFoundError:
            pass  # its last holder removed the file between the two calls: the lock is on nothing
        except BlockingIOError as error:
            file.close()
            raise DatasetError(f"{folder} is being written by another process. Wait for it, or end it.") from error
        except OSError as error:
            file.close()
            raise DatasetError(f"{path} cannot be locked ({error}): choose a folder on another file system.") from error
        file.close()
