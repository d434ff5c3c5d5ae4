"""Inspecting a file: what its image is, or why it cannot be used. Runs in worker processes."""

import functools
import hashlib
import io
from dataclasses import dataclass, replace

from PIL import Image

from cache_schema import (
    EXTENSIONS,
    MAX_PIXELS,
    NO_HASH,
    DatasetError,
    ImageRejected,
    Sample,
    SampleFields,
    decode_file,
    open_image,
    perceptual_hash,
    read_image_bytes,
)
from extract.packing.copies import CopyRule
from extract.packing.layouts import SourceFile
from extract.packing.opening import FileRejected, Root

MAX_FILE_BYTES = 2**30
"""A file above this size is no image that anyone trains on; it would be read into the memory whole."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file's bytes."""

    sha256: str | None = None
    """64 hexadecimal digits; None if the file has no usable image."""
    width: int | None = None
    height: int | None = None
    format: str | None = None
    jpeg_quality: int | None = None
    rejection: str | None = None
    """Why the file is left out, if it is."""
    likeness: int = NO_HASH
    """Its perceptual hash."""


def read_file(root: Root, file: SourceFile, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file of a source.

    Raises:
        FileRejected: If it cannot be read.
        DatasetError: If it lies in a tar whose bytes are not what the tar's index says.
    """
    if file.tar is not None:
        if file.size > max_bytes:
            raise FileRejected(f"{file.size} bytes, at most {max_bytes}")
        data = read_image_bytes(root.folder / file.tar, file.offset, file.size)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise DatasetError(
                f"{root.folder / file.tar}: the bytes of {file.path} are not those that were packed. Restore the tar."
            )
        return data
    try:
        file.key.encode()
        return root.read(file.path, max_bytes)
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
        tables[tuple(open_image(buffer, ("JPEG",)).quantization[0])] = quality  # type: ignore[attr-defined]
    return tables


def jpeg_quality(image: Image.Image) -> int | None:
    """Quality that a JPEG was saved with, as far as its tables tell.

    Args:
        image: A file as Pillow opened it.

    Returns:
        1 to 100 where it is a JPEG whose luminance table is one of the standard tables, else None.
    """
    table = getattr(image, "quantization", {}).get(0) if image.format in ("JPEG", "MPO") else None
    return standard_quality_of_table().get(tuple(table)) if table else None


def inspect_bytes(data: bytes, max_pixels: int = MAX_PIXELS) -> Facts:
    """Decode a file's bytes.

    Raises:
        ImageRejected: If they are no usable image.
    """
    decoded = decode_file(data, max_pixels=max_pixels)
    name = "JPEG" if decoded.opened.format == "MPO" else str(decoded.opened.format)
    sha256 = hashlib.sha256(data).hexdigest()
    quality, likeness = jpeg_quality(decoded.opened), perceptual_hash(decoded.image)
    return Facts(sha256, decoded.width, decoded.height, name, quality, likeness=likeness)


def inspect_file(
    root: Root,
    rule: CopyRule,
    file: SourceFile,
    max_pixels: int = MAX_PIXELS,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> Facts:
    """Read and decode one file.

    Args:
        root: What its path lies below.
        rule: Which copy of it will be packed.
        file: Which.
        max_pixels: Most pixels that it may claim.
        max_file_bytes: Most bytes that it may have.

    Raises:
        DatasetError: As `read_file`.
    """
    try:
        facts = inspect_bytes(read_file(root, file, max_file_bytes), max_pixels)
    except FileRejected as error:
        return Facts(rejection=str(error))
    except ImageRejected as error:
        return Facts(rejection=error.reason)
    if not rule.is_copy:
        return facts
    assert facts.width is not None and facts.height is not None
    reason = rule.rejection(
        label=file.label,
        width=facts.width,
        height=facts.height,
        jpeg_quality=facts.jpeg_quality,
        derived_from=file.derived_from,
    )
    return replace(facts, rejection=reason)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A file that is packed."""

    file: SourceFile
    facts: Facts
    split: str
    photograph: SourceFile | None = None
    """What it was made from, where the copy rule needs that."""


def make_sample(root: Root, rule: CopyRule, chosen: Chosen) -> Sample:
    """Read a file again, copy it if the rule says so, and give it as it goes into a tar.

    Raises:
        DatasetError: If it has changed since it was inspected.
    """
    file, facts = chosen.file, chosen.facts
    key = file.key
    try:
        data = read_file(root, file)
        photograph = read_file(root, chosen.photograph) if chosen.photograph else None
    except FileRejected as error:
        raise DatasetError(
            f"{root.folder / file.path} could be read when it was inspected, and now: {error}"
        ) from error
    if hashlib.sha256(data).hexdigest() != facts.sha256:
        raise DatasetError(
            f"{root.folder / file.path} has changed since it was inspected. Pack again once the source no longer "
            "changes."
        )
    if rule.is_copy:
        data = rule.make(key, data, label=file.label, photograph=photograph)
        facts = inspect_bytes(data)
    assert facts.sha256 and facts.width and facts.height and facts.format, file.path
    fields = SampleFields(
        label=file.label,
        image_source=file.image_source,
        subset=file.subset,
        split=chosen.split,
        group=file.group or key,
        derived_from=file.derived_from,
        class_name=file.class_name,
        source_path=file.source_path or file.path,
        sha256=facts.sha256,
        width=facts.width,
        height=facts.height,
        format=facts.format,
        jpeg_quality=facts.jpeg_quality,
    )
    return Sample(key, EXTENSIONS[facts.format], data, fields)
