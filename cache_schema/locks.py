"""One at a time: a writer of a dataset folder, a process that does a piece of work."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cache_schema.errors import DatasetError
from cache_schema.plain_files import NotPlain, open_in_place

_POLL_SEC = 1.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


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


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Claim a piece of work among processes that share a folder. The claim ends with the process, however that ends.

    Where the file system knows no locks every process has its claim, as if it were alone.

    Args:
        path: A file that stands for the work. It is made with its folder if it is not there, and stays.
        wait: Wait for a process that has the claim.

    Yields:
        Whether the work is this process's; always, if it waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_in_place(path, "ab+") as file:
        while not (is_ours := _try_lock(file)) and wait:
            time.sleep(_POLL_SEC)
        yield is_ours


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


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
