"""Bytes to an upright picture with what is known of its file, in every format that people have."""

import io
from dataclasses import dataclass
from importlib import import_module

from PIL import Image

from cache_schema import EXTENSIONS, DecodedFile, ImageRejected, Status, decode_file, is_avif, media_brands
from detect.reading.jpeg_xl import is_jpeg_xl, open_jpeg_xl
from detect.verdict import Note
from extract import jpeg_quality

FORMATS = (*EXTENSIONS, "HEIF", "JXL")
"""Pillow's names of the formats that are read."""
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


@dataclass(frozen=True)
class OpenedPicture:
    """A picture with what is known of its file.

    Attributes:
        image: Upright picture in mode RGB, full size.
        width: In px, as stored, before the EXIF orientation is applied; HEIC and JPEG XL turn themselves.
        height: As `width`.
        format: Pillow's name of the file format; "JPEG" for a JPEG that holds more pictures behind the first.
        jpeg_quality: 1 to 100 where the file is a JPEG with one of the standard tables.
        notes: What a person should know of the decoding.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    jpeg_quality: int | None
    notes: tuple[Note, ...]


def open_picture(data: bytes) -> OpenedPicture:
    """Decode a file's bytes, by the rules of `cache_schema.decode_image` and in more formats.

    Args:
        data: A whole file in one of `FORMATS`; the file's name plays no role. What texts and profiles it holds does
            not matter as long as the pixels can be had.

    Raises:
        ImageRejected: If the bytes are no such file, are damaged or cut short, claim more than
            `cache_schema.MAX_PIXELS`, have no defined brightness, or need a library that is not installed.
        MemoryError: If there is not enough memory, which says nothing about the picture.
    """
    decoded = _decode(data)
    name = "JPEG" if decoded.opened.format == "MPO" else str(decoded.opened.format)
    quality = jpeg_quality(decoded.opened)
    return OpenedPicture(
        decoded.image, decoded.width, decoded.height, name, quality, _notes_on_frames(decoded.opened, name)
    )


def _decode(data: bytes) -> DecodedFile:
    if is_jpeg_xl(data):
        return decode_file(data, ("JXL",), open_jpeg_xl)
    brands = media_brands(data)
    if brands[:1] and brands[0] in _HEIF_BRANDS and not is_avif(data):
        return decode_file(data, ("HEIF",), _open_heif)
    return decode_file(data)


def _open_heif(file: io.BytesIO) -> Image.Image:
    try:
        library = import_module("pillow_heif")
    except ImportError as error:
        reason = "a HEIC file, which needs one more library: pip install 'lare2-cache[formats]'"
        raise ImageRejected(Status.UNREADABLE, reason) from error
    image: Image.Image = library.HeifImageFile(file)
    return image


def _notes_on_frames(opened: Image.Image, name: str) -> tuple[Note, ...]:
    # Depth, gain maps and previews lie behind the picture of many phones' JPEGs: nothing to tell anybody.
    if name == "JPEG" or not _has_more(opened):
        return ()
    if name == "HEIF":
        count = getattr(opened, "n_frames", 0)
        return (Note("several_pictures", f"The file holds {count} pictures, of which the main one is used."),)
    if name == "TIFF":
        return (Note("several_pages", "The file has several pages, of which the first is used."),)
    if name == "JXL":
        return (Note("animated", "The picture is animated; one of its frames is used."),)
    if count := vars(opened).get("n_frames"):  # where it is computed, that takes a walk through the whole file
        return (Note("animated", f"The picture has {count} frames, of which the first is used."),)
    return (Note("animated", "The picture is animated; its first frame is used."),)


def _has_more(opened: Image.Image) -> bool:
    try:
        return bool(getattr(opened, "is_animated", False))
    except Exception:
        # What follows the first frame is damaged, which says nothing of that one.
        return False
