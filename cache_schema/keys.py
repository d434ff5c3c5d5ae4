"""The only place where a sample key, a tar name or a store name is made, parsed or checked."""

import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import unquote

SPLITS = ("train", "validation", "test")
STORE_SUFFIX = ".zarr.zip"

_TAR_NAME = re.compile(rf"({'|'.join(SPLITS)})-(\d{{6,}})\.tar")


def sample_key(relative_path: str) -> str:
    """Key of a file, from its path below the packed root: one to one, reversible, independent of its neighbours.

    The path is brought to Unicode NFC. In its base name `%`, `.` and control characters are percent-encoded, so that a
    tar member `<key>.<extension>` has exactly one dot in its base name and WebDataset finds the same key.

    Args:
        relative_path: For example "real/n01440764_11602.JPEG".

    Returns:
        For example "real/n01440764_11602%2EJPEG".

    Raises:
        ValueError: If the path is absolute, empty, or leaves the root.
    """
    path = unicodedata.normalize("NFC", relative_path)
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or "\0" in path:
        raise ValueError(f"{relative_path!r} is no path below a root: parts must be non-empty and not '.' or '..'")
    base = "".join(_encode(c) if c in "%." or unicodedata.category(c) == "Cc" else c for c in parts[-1])
    return "/".join([*parts[:-1], base])


def _encode(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def source_path(key: str) -> str:
    """The path that a key was made from: the inverse of `sample_key`.

    Raises:
        ValueError: If no path has this key.
    """
    path = str(PurePosixPath(key).with_name(unquote(PurePosixPath(key).name, errors="strict"))) if key else ""
    if sample_key(path) != key:
        raise ValueError(f"{key!r} is not the key of any path")
    return path


def tar_name(split: str, number: int) -> str:
    """Name of a split's nth tar, "train-000000.tar"."""
    name = f"{split}-{number:06d}.tar"
    parse_tar_name(name)
    return name


def parse_tar_name(name: str) -> tuple[str, int]:
    """Split and number of a tar name.

    Raises:
        ValueError: If it is not a tar name; so a name from a file can never point outside its folder.
    """
    match = _TAR_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no tar name: expected <split>-<six digits>.tar, split one of {SPLITS}")
    return match[1], int(match[2])


def store_name(tar: str) -> str:
    """Name of the store that belongs to a tar, "train-000000.tar" → "train-000000.zarr.zip"."""
    parse_tar_name(tar)
    return tar.removesuffix(".tar") + STORE_SUFFIX


def is_store_name(name: str) -> bool:
    """Whether a file has the name of a store, and not one that a sync client or a person made of it."""
    return name.endswith(STORE_SUFFIX) and _TAR_NAME.fullmatch(name.removesuffix(STORE_SUFFIX) + ".tar") is not None
