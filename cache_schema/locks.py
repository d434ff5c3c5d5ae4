"""One writer at a time for a dataset folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache_schema.errors import DatasetError


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
        descriptor = _lock_file(path, folder)
    except OSError as error:
        raise DatasetError(
            f"{folder.parent} cannot be written to ({str(error.strerror or error).lower()}), and the lock of "
            f"{folder.name} lies there while it is written: choose another folder, or make this one writable."
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: so nobody else's file goes
        os.close(descriptor)


def _lock_file(path: Path, folder: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass  # its last holder removed the file between the two calls: the lock is on nothing
        except BlockingIOError as error:
            os.close(descriptor)
            raise DatasetError(f"{folder} is being written by another process. Wait for it, or end it.") from error
        except OSError as error:
            os.close(descriptor)
            raise DatasetError(f"{path} cannot be locked ({error}): choose a folder on another file system.") from error
        os.close(descriptor)
