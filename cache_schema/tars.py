"""How a sample lies in a tar: `<key>.<extension>` with the original bytes, then `<key>.json` with its fields."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from cache_schema.addresses import ObjectPath, Place
from cache_schema.checks import check_choice
from cache_schema.errors import DatasetError
from cache_schema.keys import SPLITS, source_path
from cache_schema.plain_files import NotPlain, open_plain, size_of
from cache_schema.syncing import sync_file

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}


@dataclass(frozen=True)
class SampleFields:
    """What is known about a sample besides its pixels."""

    label: int | None
    """0 real, 1 generated, None for a control that is scored but never trained on."""
    image_source: str
    """What made the image: "real", "sdv5", …"""
    subset: str
    """The set that it is scored in: generated images meet the reals of their own subset."""
    split: str
    """`train`, `validation` or `test`."""
    group: str
    """What must never be divided between splits and is resampled as one."""
    derived_from: str | None
    """Key of the photograph it was made from."""
    class_name: str | None
    source_path: str
    sha256: str
    """Of the image bytes, 64 hexadecimal digits."""
    width: int
    height: int
    format: str
    """Pillow's name of the file format."""
    jpeg_quality: int | None

    def __post_init__(self) -> None:
        """Check what a later stage would trip over."""
        if self.label not in (0, 1, None):
            raise ValueError(f"label is {self.label!r}: expected 0 (real), 1 (generated) or None (control)")
        check_choice("split", self.split, SPLITS)


@dataclass(frozen=True)
class Sample:
    """One image with its fields, as it goes into a tar."""

    key: str
    extension: str
    image: bytes
    fields: SampleFields

    def __post_init__(self) -> None:
        """Check that the key is one and that the hash is that of the bytes."""
        source_path(self.key)
        if self.extension not in EXTENSIONS.values():
            raise ValueError(f"{self.key}: extension {self.extension!r}, expected one of {sorted(EXTENSIONS.values())}")
        if hashlib.sha256(self.image).hexdigest() != self.fields.sha256:
            raise ValueError(f"{self.key}: sha256 in its fields is not that of its bytes")


class TarWriter:
    """Writes samples to one tar, byte for byte the same for the same samples."""

    def __init__(self, path: Path) -> None:
        """Open a new file."""
        self._tar = tarfile.TarFile(path, "x", format=tarfile.PAX_FORMAT)
        self._path = path
        self.num_bytes = 0

    def add(self, sample: Sample) -> int:
        """Append a sample and return the byte offset of its image."""
        offset = self._add(f"{sample.key}.{sample.extension}", sample.image)
        self._add(f"{sample.key}.json", json.dumps(asdict(sample.fields), sort_keys=True).encode())
        self.num_bytes = self._tar.offset
        return offset

    def _add(self, name: str, data: bytes) -> int:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        self._tar.addfile(info, io.BytesIO(data))
        padded = -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return int(self._tar.offset) - padded

    def close(self) -> None:
        """Finish the tar and bring it to the disk."""
        self._tar.close()
        sync_file(self._path)
        self.num_bytes = self._path.stat().st_size


def read_image_bytes(tar: Place | BinaryIO, offset: int, size: int) -> bytes:
    """Read one image at its place in a tar, as the index gives it.

    Args:
        tar: Its path, or the open tar.
        offset: Byte at which the image begins.
        size: Bytes of the image.

    Raises:
        DatasetError: If the tar is missing or shorter than that.
    """
    if not isinstance(tar, Path | ObjectPath):
        return _read_image(tar, tar.name, offset, size)
    try:
        with open_plain(tar, tail_bytes=1) as f:  # of an object nothing but the image, and what is known of it
            return _read_image(f, str(tar), offset, size)
    except NotPlain as error:
        raise DatasetError(f"{tar} cannot be read ({error}). Restore it or pack the dataset again.") from error
    except FileNotFoundError as error:
        raise DatasetError(
            f"{tar} is missing, but the index lists it. Restore it or pack the dataset again."
        ) from error


def _read_image(file: BinaryIO, tar: str, offset: int, size: int) -> bytes:
    num_bytes = size_of(file)
    file.seek(min(offset, num_bytes))
    data = file.read(max(0, min(size, num_bytes - offset)))  # room is made for what is there alone
    if len(data) != size:
        raise DatasetError(
            f"{tar} ends inside an image: {size} bytes expected at {offset}, {len(data)} found. "
            "The tar was cut short after packing: restore it or pack the dataset again."
        )
    return data


def rows_sha256(keys: Iterable[str], image_sha256: Iterable[bytes]) -> str:
    """Hash over key and image hash in row order: what a store and its tar must agree on.

    Args:
        keys: Sample keys.
        image_sha256: Hash of each image's bytes, 32 bytes each.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for key, image in zip(keys, image_sha256, strict=True):
        digest.update(key.encode() + b"\0" + image)
    return digest.hexdigest()
