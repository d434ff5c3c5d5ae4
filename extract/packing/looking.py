"""What one look at a file gives: its bytes, or why it cannot be used. Runs in worker processes."""

import functools
import hashlib
import io
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cache_schema import (
    EXTENSIONS,
    DatasetError,
    ImageRejected,
    Sample,
    SampleFields,
    decode_image,
    read_image_bytes,
)
from extract.packing.copies import CopyRule
from extract.packing.layouts import SourceFile

MAX_FILE_BYTES = 2**30
"""A file above this size is no image that anyone trains on; it would be read into the memory whole."""


class FileRejected(Exception):
    """A file cannot be used; the text is the reason in rejected.csv."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a file's bytes."""

    sha256: str | None = None
    """64 hexadecimal digits; None if the file has no usable image."""
    width: int | None = None
    height: int | None = None
    format: str | None = None
    jpeg_quality: int | None = None
    rejection: str | None = None
    """Why the file is left out, if it is."""


def read_file(root: Path, file: SourceFile) -> bytes:
    """The bytes of a file of a source.

    Raises:
        FileRejected: If it cannot be read.
        DatasetError: If it lies in a tar whose bytes are not what the tar's index says.
    """
    if file.tar is not None:
        data = read_image_bytes(root / file.tar, file.offset, file.size)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise DatasetError(
                f"{root / file.tar}: the bytes of {file.path} are not those that were packed. Restore the tar."
            )
        return data
    try:
        file.key.encode()
        status = (root / file.path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileRejected("no regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise FileRejected(f"{status.st_size} bytes, at most {MAX_FILE_BYTES}")
        return (root / file.path).read_bytes()
    except ValueError as error:  # UnicodeEncodeError is one too
        raise FileRejected(f"its name makes no key: {error}") from error
    except FileNotFoundError as error:
        raise FileRejected("no such file") from error
    except OSError as error:
        raise FileRejected(f"cannot be read: {error.strerror}") from error


@functools.cache
def standard_quality_of_table() -> dict[tuple[int, ...], int]:
    """Luminance quantisation table → JPEG quality, for the 100 standard tables, as the encoder itself writes them."""
    tables = {}
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        tables[tuple(Image.open(buffer).quantization[0])] = quality  # type: ignore[attr-defined]
    return tables


def look_at_bytes(data: bytes) -> Look:
    """Decode a file's bytes.

    Raises:
        ImageRejected: If they are no usable image.
    """
    decode_image(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, as in decode_image
        image = Image.open(io.BytesIO(data), formats=tuple(EXTENSIONS))
    name = "JPEG" if image.format == "MPO" else str(image.format)
    table = getattr(image, "quantization", {}).get(0) if name == "JPEG" else None
    quality = standard_quality_of_table().get(tuple(table)) if table else None
    return Look(hashlib.sha256(data).hexdigest(), image.width, image.height, name, quality)


def look_at(root: Path, rule: CopyRule, file: SourceFile) -> Look:
    """Read and decode one file.

    Raises:
        DatasetError: As `read_file`.
    """
    try:
        look = look_at_bytes(read_file(root, file))
    except FileRejected as error:
        return Look(rejection=str(error))
    except ImageRejected as error:
        return Look(rejection=error.reason)
    if not rule.is_copy:
        return look
    assert look.width is not None and look.height is not None
    reason = rule.rejection(
        label=file.label,
        width=look.width,
        height=look.height,
        jpeg_quality=look.jpeg_quality,
        derived_from=file.derived_from,
    )
    return Look(look.sha256, look.width, look.height, look.format, look.jpeg_quality, reason)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A file that is packed."""

    file: SourceFile
    look: Look
    split: str
    photograph: SourceFile | None = None
    """What it was made from, where the copy rule needs that."""


def make_sample(root: Path, rule: CopyRule, chosen: Chosen) -> Sample:
    """Read a file again, copy it if the rule says so, and give it as it goes into a tar.

    Raises:
        DatasetError: If it has changed since it was looked at.
    """
    file, look = chosen.file, chosen.look
    key = file.key
    try:
        data = read_file(root, file)
        photograph = read_file(root, chosen.photograph) if chosen.photograph else None
    except FileRejected as error:
        raise DatasetError(f"{root / file.path} could be read when it was looked at, and now: {error}") from error
    if hashlib.sha256(data).hexdigest() != look.sha256:
        raise DatasetError(f"{root / file.path} has changed since it was looked at. Pack when nobody writes there.")
    if rule.is_copy:
        data = rule.make(key, data, label=file.label, photograph=photograph)
        look = look_at_bytes(data)
    assert look.sha256 and look.width and look.height and look.format, file.path
    fields = SampleFields(
        label=file.label,
        image_source=file.image_source,
        subset=file.subset,
        split=chosen.split,
        group=file.group or key,
        derived_from=file.derived_from,
        class_name=file.class_name,
        source_path=file.source_path or file.path,
        sha256=look.sha256,
        width=look.width,
        height=look.height,
        format=look.format,
        jpeg_quality=look.jpeg_quality,
    )
    return Sample(key, EXTENSIONS[look.format], data, fields)
