"""Write beside, sync, publish: a file or a folder appears under its name whole, or not at all.

Content is written under a temporary name beside its target, `.<name>.<32 hexadecimal digits>.tmp`, and then published
under its own name, in place of what is there or only where nothing is. Readers never see a part. The digits are random
and writers create the file themselves (mode "x"), so that nobody can lay a link there that leads elsewhere. A link that
has the target's name is replaced, never followed. Object storage offers the same by itself: these bytes, at this name,
replacing or creating. What goes there is written to a temporary file of this machine first.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from cache_schema.addresses import ObjectPath, Place
from cache_schema.file_names import file_name
from cache_schema.object_store import put
from cache_schema.plain_files import NotPlain, open_folder, read_json
from cache_schema.syncing import sync_file, sync_folder, sync_tree

ABANDONED_SEC = 3600
"""A temporary file that nobody has written to for so long belongs to a run that was killed; a store takes seconds."""
LOOK_AGAIN_SEC = 60
"""A folder is looked through for such files this often: it may get a new file a millisecond, and hold a million."""
PARTS_FROM_BYTES = 2**28
"""A larger file goes to object storage in parts; a store never does."""
CLAIM_SEC = 10.0
"""An empty file that stands for so long where there are no hard links was claimed by a process that was killed."""
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without them say: exFAT, many mounts of object stores."""
__all__ = [
    "file_name", "naming", "new_file", "new_folder", "new_opened", "publish", "read_json", "remove", "sync_file",
    "sync_folder", "temporary_folder", "write_bytes", "write_json", "write_text",
]  # fmt: skip
_EXCHANGED = "another program has put something else in its place"
_looked_at: dict[tuple[int, int], float] = {}
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextmanager
def new_file(path: Place, *, replace: bool = True, durable: bool = True) -> Iterator[Path]:
    """Yield the path of a temporary file to create, with mode "x"; at the end it is published.

    After an exception nothing is published, and the temporary file is removed. Temporary files that killed runs left in
    the folder more than an hour ago are removed too.

    Args:
        path: Where the file goes. Its folder is there.
        replace: Take the place of a file that is there; otherwise it is refused.
        durable: Bring the content to the disk before it has its name, and the name after it.

    Raises:
        FileExistsError: If a file is there and `replace` is off.
        OSError: If the disk is full or broken; the error names the file.
        StorageError: If object storage does not answer, or refuses.
    """
    if isinstance(path, ObjectPath):
        with tempfile.TemporaryDirectory(prefix="lare-") as folder:
            with naming(Path(folder)):
                yield Path(folder) / path.name
            publish(Path(folder) / path.name, path, replace=replace)
        return
    _remove_abandoned(path.parent)
    temporary = _temporary_name(path)
    try:
        with naming(path):
            yield temporary
            publish(temporary, path, replace=replace, durable=durable)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_opened(path: Place, *, replace: bool = True, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield an open file to write, created as `new_file` asks; at the end it is closed and published.

    Arguments and errors are those of `new_file`.
    """
    with new_file(path, replace=replace, durable=durable) as temporary, temporary.open("xb") as file:
        yield file


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(16)}.tmp")


@contextmanager
def new_folder(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary folder to fill; at the end it is published with all that lies in it.

    After an exception nothing is published, and the temporary folder is removed.

    Args:
        path: Where the folder goes. Only one process at a time may make it: see `temporary_folder`.
        durable: Bring all content to the disk before the folder has its name, and the name after it.

    Raises:
        OSError: If a folder with content is there, or the disk is full or broken.
    """
    with temporary_folder(path.with_name(f".{path.name}.tmp")) as temporary:
        with open_folder(temporary) as descriptor:
            with naming(path):
                yield temporary
            if durable:
                sync_tree(temporary)
            _let_others_in(descriptor)
            if not os.path.samestat(os.fstat(descriptor), temporary.lstat()):
                raise NotPlain(errno.EINVAL, _EXCHANGED, str(temporary))
        temporary.rename(path)
    if durable:
        sync_folder(path.parent)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """An empty folder that nobody else can write to; it is gone afterwards.

    A killed run's folder is found and removed by the next run, however old it is. Who may be one of several holds a
    lock.

    Args:
        path: `.<name>.tmp` beside what is written; 32 random hexadecimal digits come before the `.tmp`.
    """
    name = path.name.removesuffix(".tmp").removeprefix(".")
    _remove_folders(path.parent, name)
    temporary = _temporary_name(path.with_name(name))
    temporary.mkdir(mode=0o700)
    try:
        with naming(path):
            yield temporary
    finally:
        with suppress(OSError):
            remove(temporary)


def _let_others_in(folder: int) -> None:
    """Give a folder that was ours alone the permissions of any new folder, as one that is made in it shows them."""
    name = f".{secrets.token_hex(16)}"
    os.mkdir(name, dir_fd=folder)
    mode = os.stat(name, dir_fd=folder).st_mode
    os.rmdir(name, dir_fd=folder)
    with suppress(PermissionError):  # file systems without permissions
        os.fchmod(folder, stat.S_IMODE(mode))


def _remove_folders(parent: Path, name: str) -> None:
    """Remove what killed runs left of a folder; a link of that name is removed itself, what it leads to stays."""
    ours = re.compile(rf"\.{re.escape(name)}(\.[0-9a-f]{{32}})?\.tmp")
    for path in parent.glob(".*.tmp"):
        if ours.fullmatch(path.name):
            with suppress(OSError):  # another person's
                remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it, if it is there; of a link the link alone.

    Raises:
        OSError: If it cannot be removed.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)  # goes by descriptors: a link that comes in between is not followed
        else:
            path.unlink()


def publish(temporary: Path, path: Place, *, replace: bool = True, durable: bool = True) -> None:
    """Give a written file its name.

    Args:
        temporary: The file, on the same file system, unless the name is one in object storage. It is gone afterwards,
            or may remain where `replace` is off.
        path: Its name from now on.
        replace: Take the place of a file that is there; otherwise it is refused.
        durable: Bring the content to the disk before it has its name, and the name after it.

    Raises:
        FileExistsError: If a file is there and `replace` is off.
    """
    if not stat.S_ISREG(temporary.lstat().st_mode):
        raise NotPlain(errno.EINVAL, _EXCHANGED, str(temporary))
    if isinstance(path, ObjectPath):
        put(path.address, temporary, replace=replace, in_parts=temporary.stat().st_size > PARTS_FROM_BYTES)
        temporary.unlink()
        return
    if durable:
        sync_file(temporary)
    if replace:
        os.replace(temporary, path)
    else:
        _create(temporary, path)
    if durable:
        sync_folder(path.parent)  # what is published after it must not reach the disk before it


def _create(temporary: Path, path: Path) -> None:
    """Give a file a name that nothing has; the first of several wins."""
    try:
        os.link(temporary, path)  # unlike a rename it fails if the name is taken
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        with _folder_lock(path.parent):
            _claim(path)
            try:
                os.replace(temporary, path)
            except OSError:
                path.unlink(missing_ok=True)
                raise


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Let one process of this machine at a time in, where the file system has locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # without it, an empty file is seen for a moment
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _claim(path: Path) -> None:
    """Make an empty file that nobody else can make, other machines included, or take over one of a killed process.

    Raises:
        FileExistsError: If a file with content is there.
    """
    deadline = time.monotonic() + CLAIM_SEC
    while True:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return
        except FileExistsError:
            if path.lstat().st_size:
                raise
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def write_text(path: Place, text: str, *, replace: bool = True, durable: bool = True) -> None:
    """Write a text in UTF-8 as `new_file` does. The folder is made if it is not there."""
    write_bytes(path, text.encode(), replace=replace, durable=durable)


def write_bytes(path: Place, data: bytes, *, replace: bool = True, durable: bool = True) -> None:
    """Write bytes as `new_file` does. The folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_opened(path, replace=replace, durable=durable) as file:
        file.write(data)


def write_json(path: Place, content: Any) -> None:
    """Write content as readable JSON, as `write_text` does.

    Raises:
        ValueError: If it holds a NaN or an infinity.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the errors of a full or broken disk name the file: what is written through an open file does not."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed runs left behind, once it is too old for anyone to be writing it still."""
    status, now = folder.stat(), time.time()
    identity = (status.st_dev, status.st_ino)
    if now - _looked_at.get(identity, 0) < LOOK_AGAIN_SEC:
        return
    _looked_at[identity] = now
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):  # another run was quicker, or the file is another person's
                if now - path.lstat().st_mtime > ABANDONED_SEC:
                    path.unlink()
