"""Write beside, sync, publish: a file or a folder appears under its name whole, or not at all.

Content is written under a temporary name beside its target, `.<name>.<32 hexadecimal digits>.tmp`, and then published
under its own name, in place of what is there or only where nothing is. Readers never see a part. Local disks are all
that is known here; a store of objects would offer the same: these bytes, at this name, replacing or creating.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

ABANDONED_SEC = 3600
"""A temporary file that nobody has written to for so long belongs to a run that was killed; a store takes seconds."""
MAX_NAME = 120
"""Characters of a text that a file's name keeps; a hash of all of it follows."""
CLAIM_SEC = 10.0
"""An empty file that stands for so long where there are no hard links was claimed by a process that was killed."""
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without them say: exFAT, many mounts of object stores."""
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextmanager
def new_file(path: Path, *, replace: bool = True, durable: bool = True) -> Iterator[Path]:
    """Yield the path of a temporary file to write; at the end it is published.

    After an exception nothing is published, and the temporary file is removed. Temporary files that killed runs left in
    the folder more than an hour ago are removed too.

    Args:
        path: Where the file goes. Its folder is there.
        replace: Take the place of a file that is there; otherwise it is refused.
        durable: Bring the content to the disk before it has its name, and the name after it.

    Raises:
        FileExistsError: If a file is there and `replace` is off.
        OSError: If the disk is full or broken; the error names the file.
    """
    _remove_abandoned(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with naming(path):
            yield temporary
            publish(temporary, path, replace=replace, durable=durable)
    finally:
        temporary.unlink(missing_ok=True)


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
        yield temporary
        if durable:
            _sync_tree(temporary)
        temporary.rename(path)
    if durable:
        sync_folder(path.parent)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards.

    Its name is fixed, so that a killed run's folder is found and removed by the next run, however old it is. Who may be
    one of several holds a lock.
    """
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        with naming(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def publish(temporary: Path, path: Path, *, replace: bool = True, durable: bool = True) -> None:
    """Give a written file its name.

    Args:
        temporary: The file, on the same file system. It is gone afterwards, or may remain where `replace` is off.
        path: Its name from now on.
        replace: Take the place of a file that is there; otherwise it is refused.
        durable: Bring the content to the disk before it has its name, and the name after it.

    Raises:
        FileExistsError: If a file is there and `replace` is off.
    """
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
    descriptor = os.open(folder, os.O_RDONLY)
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
            if path.stat().st_size:
                raise
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def write_text(path: Path, text: str, *, replace: bool = True, durable: bool = True) -> None:
    """Write a text in UTF-8 as `new_file` does. The folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path, replace=replace, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write content as readable JSON, as `write_text` does.

    Raises:
        ValueError: If it holds a NaN or an infinity.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        ValueError: If it is damaged, or holds no object; the error names the file.
        OSError: If it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError too
        raise ValueError(f"{path} cannot be read as JSON ({error}): restore it, or make it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object: restore it, or make it again")
    return content


def file_name(text: str) -> str:
    """Any text as the name of a file or folder: one to one, never a path, never hidden, not too long.

    Letters, digits, spaces and `_.-~` stay as they are, all else is percent-encoded.
    """
    name = quote(text, safe=" ", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > MAX_NAME:
        name = f"{name[:MAX_NAME]}%{hashlib.sha256(name.encode()).hexdigest()}"
    return name or "%"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the errors of a full or broken disk name the file: what is written through an open file does not."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk."""
    with path.open("rb") as f:
        os.fsync(f.fileno())


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where its file system can be asked to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync_folder(path) if path.is_dir() else sync_file(path)
    sync_folder(folder)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed runs left behind, once it is too old for anyone to be writing it still."""
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):  # another run was quicker, or the file is another person's
                if time.time() - path.stat().st_mtime > ABANDONED_SEC:
                    path.unlink()
