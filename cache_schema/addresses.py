"""Places: a folder or file of this machine, or an address in object storage (`s3://bucket/folder`).

An `ObjectPath` has the part of `Path` that places are used with, so that code below a command takes either (`Place`).
It is no `Path` and no `os.PathLike`: what knows local files alone refuses it, and never makes a folder called `s3:`.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from cache_schema.object_errors import Address
from cache_schema.object_store import find, list_folder
from cache_schema.shown import shown

SCHEMES = ("s3", "gs", "az")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/{1,2}(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, order=True)
class ObjectPath:
    """An object, or the prefix of several, which is what a folder is there."""

    scheme: str
    bucket: str
    key: str = ""
    """Without a slash at its ends."""

    def __str__(self) -> str:
        return str(self.address)

    @property
    def address(self) -> Address:
        """As requests take it."""
        return Address(self.scheme, self.bucket, self.key)

    def __truediv__(self, name: str) -> "ObjectPath":
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"{shown(name)} is no name of an object")
        return ObjectPath(self.scheme, self.bucket, "/".join([*([self.key] if self.key else []), *parts]))

    @property
    def name(self) -> str:
        """The part of the key behind its last slash."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """End of the name from its last dot on, `.csv`; nothing if it has none."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "ObjectPath":
        """The folder that it lies in; of a bucket itself."""
        return ObjectPath(self.scheme, self.bucket, self.key.rpartition("/")[0])

    def with_name(self, name: str) -> "ObjectPath":
        """Another object of the same folder."""
        return self.parent / name

    def absolute(self) -> Self:
        """Itself."""
        return self

    def expanduser(self) -> Self:
        """Itself."""
        return self

    def exists(self) -> bool:
        """Whether it is an object, or a folder that holds one."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether it is an object: one request."""
        return bool(self.key) and find(self.address) is not None

    def is_dir(self) -> bool:
        """Whether an object lies below it: one request for a thousand of them."""
        return any(list_folder(self.address))

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: there are no folders."""


Place = Path | ObjectPath
"""A folder or file of this machine, or an address in object storage."""


def place(text: "str | Place") -> Place:
    """A setting's text as a place.

    Raises:
        ValueError: If it is an address of something else, or holds what no address of ours has.
    """
    if isinstance(text, ObjectPath):
        return text
    found = _ADDRESS.fullmatch(str(text))
    if found is None or found[1].lower() not in SCHEMES:
        return Path(text)
    scheme, rest = found[1].lower(), found[2]
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or "?" in rest or "#" in rest:
        # Not repeated: it may hold a password.
        raise ValueError(
            f"an address {scheme}://… is not of the form {scheme}://bucket/folder. Credentials are named in the "
            "environment alone."
        )
    base = ObjectPath(scheme, bucket)
    key = key.strip("/")
    return base / key if key else base


def is_address(text: object) -> bool:
    """Whether a setting names a place in object storage."""
    found = _ADDRESS.fullmatch(str(text)) if isinstance(text, str | Path) else None
    return isinstance(text, ObjectPath) or bool(found and found[1].lower() in SCHEMES)


def local(text: "str | Place", what: str) -> Path:
    """A place of this machine.

    Args:
        text: The setting, or the place.
        what: What it is, for the error.

    Raises:
        ValueError: If it is an address in object storage.
    """
    if is_address(text):
        raise ValueError(
            f"{what} is {text}: expected a folder or file of this machine, not an address in object storage"
        )
    assert not isinstance(text, ObjectPath)
    return Path(text)
