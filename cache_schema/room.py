"""The folder of copies of objects: `LARE_CACHE_DIR`, or `lare` below the user's cache folder.

It holds at most `LARE_CACHE_GB`, 50 if that is not set; what was used least recently goes first.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from cache_schema.addresses import Place, place
from cache_schema.errors import StorageError
from cache_schema.locks import claim
from cache_schema.shown import shown

FOLDER, SIZE = "LARE_CACHE_DIR", "LARE_CACHE_GB"
DEFAULT_GB = 50.0
NUM_LOCKS = 4096
"""Files that stand for the work on a copy, each for many; they stay."""
PART = ".part"
"""How the name of a copy ends that grows; before it stands how large it will be."""


def folder() -> Path:
    """The folder of copies, made if it is not there.

    Raises:
        StorageError: If it is another person's, or cannot be made.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(os.environ.get(FOLDER) or Path(base) / "lare").expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.stat().st_uid
    except OSError as error:
        raise StorageError(f"{path} cannot be made ({error.strerror}): name another folder with {FOLDER}.") from error
    if owner != os.geteuid():
        raise StorageError(
            f"{path} belongs to another user, who could put anything into it: name another with {FOLDER}."
        )
    return path


def most_bytes() -> int:
    """Bytes that the folder may hold.

    Raises:
        StorageError: If the setting is no number above 0.
    """
    text = os.environ.get(SIZE, "")
    try:
        gigabytes = float(text) if text else DEFAULT_GB
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < 1e9:
        raise StorageError(f"{SIZE} is {shown(text)}: expected gigabytes above 0")
    return int(gigabytes * 1e9)


def state_folder(where: str | Place) -> Path:
    """Where processes of this machine keep what they tell each other about a folder: that folder itself, if it is here.

    For a place in object storage it is a folder of this machine, which is made.

    Raises:
        StorageError: As `folder`.
    """
    found = place(where)
    if isinstance(found, Path):
        return found
    path = folder() / "state" / hashlib.sha256(str(found).encode("utf-8", "surrogatepass")).hexdigest()
    path.mkdir(parents=True, exist_ok=True)
    return path


def lock_of(name: str) -> Path:
    """What stands for the work on a copy."""
    return folder() / "locks" / f"{int(name[:8], 16) % NUM_LOCKS:04d}"


def make_room(num_bytes: int, but: Path) -> None:
    """Remove copies until so many bytes more are within the limit; one that grows counts as what it will be."""
    most = most_bytes()
    if num_bytes > most:
        raise StorageError(
            f"an object has {num_bytes:,} bytes, {SIZE} allows {most:,} for all copies together: allow more."
        )
    with claim(folder() / "locks" / "room", wait=True):
        while _used(but) + num_bytes > most and remove_oldest():
            pass
        if (used := _used(but)) + num_bytes > most:
            raise StorageError(
                f"{folder()} has {used:,} bytes of objects that are being copied, and {num_bytes:,} more are needed: "
                f"{SIZE} allows {most:,}. Allow more, or run fewer processes."
            )


def _used(but: Path) -> int:
    total = 0
    for entry in os.scandir(folder()):
        if entry.name != but.name and entry.is_file(follow_symlinks=False):
            _, _, size = entry.name.removesuffix(PART).partition(".")
            with suppress(FileNotFoundError):
                total += int(size) if size.isdecimal() else entry.stat().st_size
    return total


def remove_oldest() -> bool:
    """Remove the copy that was used least recently, or a part that nobody works on; whether there was one."""
    found = []
    for entry in os.scandir(folder()):
        with suppress(FileNotFoundError):
            if entry.is_file(follow_symlinks=False):
                found.append((entry.stat().st_mtime, Path(entry.path)))
    for _, path in sorted(found):
        if not path.name.endswith(PART):
            path.unlink(missing_ok=True)
            return True
        with claim(lock_of(path.name)) as is_idle:
            if is_idle:
                path.unlink(missing_ok=True)
                return True
    return False
