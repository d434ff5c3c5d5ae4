"""Bytes to pixels: the decoding and resizing rule, one definition for both stages.

Extraction encodes the canvas made here, and training cuts its crops out of the same canvas, so that a pixel of the
image and a cell of its map lie where they should.
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from cache_schema.avif import NEEDS_NEWER_PILLOW, is_avif, one_avif_thread, pillow_reads_avif, without_exif
from cache_schema.file_kinds import file_kind, hide_bytes
from cache_schema.jpeg_scans import has_more_scans, most_scans
from cache_schema.libtiff import libtiff_damage
from cache_schema.opening import FORMATS, open_image
from cache_schema.png_chunks import only_pixels
from cache_schema.status import Status
from cache_schema.turns import decoding_turn

MAX_PIXELS = 100_000_000
BYTES_A_PIXEL = 8
"""Memory that decoding takes in formats and modes without copies."""
PLAIN_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "TIFF")
RULES = {"color": "rgb8", "alpha": "over-white", "orientation": "exif", "resize": "squash", "filter": "bicubic"}
"""The fingerprint fields that this module fixes."""
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes the picture upright."""


class ImageRejected(Exception):
    """An image cannot be used. `status` and `reason` go into the cache in place of a map."""

    def __init__(self, status: Status, reason: str) -> None:
        """Keep the status and the reason."""
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class DecodedFile:
    """A decoded image file.

    Attributes:
        image: Upright picture in mode RGB.
        width: In px, as stored, before the EXIF orientation is applied.
        height: As `width`.
        opened: The file as Pillow opened it, with its `format` and metadata. It may share its pixels with `image`.
    """

    image: Image.Image
    width: int
    height: int
    opened: Image.Image


def decode_image(data: bytes) -> Image.Image:
    """Decode a file's bytes to an upright 8-bit RGB picture.

    The first frame or page is taken, the EXIF orientation applied, transparency put over white, 16-bit grey brought to
    8 bits, any other mode converted by Pillow. Colour profiles are not applied. Metadata does not matter as
    long as the pixels can be had, whatever its size and however damaged.

    Args:
        data: A whole file in one of `FORMATS`; the file's name plays no role.

    Returns:
        Picture in mode RGB.

    Raises:
        ImageRejected: If the bytes are no such file, are damaged or cut short, claim more than `MAX_PIXELS`, or have
            no defined brightness (floating point).
        MemoryError: If there is not enough memory, which says nothing about the image.
    """
    return decode_file(data).image


def decode_file(
    data: bytes,
    formats: tuple[str, ...] = FORMATS,
    open_file: Callable[[io.BytesIO], Image.Image] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> DecodedFile:
    """Decode a file's bytes by the rules of `decode_image`, in other formats too.

    Args:
        data: A whole file in one of `formats`.
        formats: Pillow's names of the formats that are taken. The caches' images are in `FORMATS` alone.
        open_file: Opens a file without decoding its pixels; None: Pillow does.
        max_pixels: Most pixels that a file may claim.

    Raises:
        ImageRejected: As `decode_image`, or as `open_file`.
        MemoryError: As `decode_image`.
    """
    if not data:
        raise ImageRejected(Status.UNREADABLE, "empty file")
    try:
        return _decode(data, formats, open_file, max_pixels)
    except ImageRejected as error:
        # Pillow gives up at texts and profiles above its limits, and at damage beside the pixels. A second try, so that
        # what is read at the first one keeps its pixels to the bit.
        bare = only_pixels(without_exif(data)) if error.status is Status.UNREADABLE else data
        if bare == data:
            raise
        try:
            return _decode(bare, formats, open_file, max_pixels)
        except ImageRejected as second:
            raise (error if second.status is Status.UNREADABLE else second) from second


def _decode(
    data: bytes, formats: tuple[str, ...], open_file: Callable[[io.BytesIO], Image.Image] | None, max_pixels: int
) -> DecodedFile:
    with _PILLOW_SETTINGS:
        try:
            file = io.BytesIO(data)
            image = open_image(file, formats) if open_file is None else open_file(file)
        except UnidentifiedImageError as error:
            if is_avif(data) and not pillow_reads_avif():
                raise ImageRejected(Status.UNREADABLE, NEEDS_NEWER_PILLOW) from error
            reason = f"cannot identify it as one of {', '.join(formats)}; it is {file_kind(data)}"
            raise ImageRejected(Status.UNREADABLE, reason) from error
        except (ImageRejected, MemoryError):
            raise
        except Exception as error:
            raise _cannot_decode("file", error) from error
        width, height = image.size
        _check_work(data, image, max_pixels)
        try:
            with decoding_turn(width * height * _bytes_a_pixel(image)):
                _load(image)
                return DecodedFile(_to_rgb(_upright(image)), width, height, image)
        except (ImageRejected, MemoryError):
            raise
        except Exception as error:
            raise _cannot_decode(str(image.format), error) from error


def _check_work(data: bytes, image: Image.Image, max_pixels: int) -> None:
    """Reject what would take more memory or time than any usual picture; no clock decides, as machines differ."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageRejected(Status.TOO_LARGE, f"{width} x {height} pixels, at most {max_pixels}")
    most = most_scans(width * height)
    if image.format in ("JPEG", "MPO") and has_more_scans(data, most):
        raise ImageRejected(Status.TOO_LARGE, f"JPEG of {width} x {height} pixels in more than {most} scans")


def _bytes_a_pixel(image: Image.Image) -> int:
    """What decoding takes at most, measured: more where the decoder has copies of its own, or white lies behind."""
    is_plain = image.mode in ("RGB", "L", "1", "CMYK") and image.format in PLAIN_FORMATS
    return BYTES_A_PIXEL if is_plain and not image.has_transparency_data else 2 * BYTES_A_PIXEL


def _load(image: Image.Image) -> None:
    """Decode the pixels; reject a picture that libtiff found damage in, though Pillow has pixels of it."""
    if image.format != "TIFF":
        image.load()
        return
    with libtiff_damage() as damage:
        image.load()
    if damage:
        raise ImageRejected(Status.UNREADABLE, f"TIFF is damaged ({damage[0]})")


@contextmanager
def _own_pillow_settings() -> Iterator[None]:
    """Decode by our rules, whatever another library of this process has set in Pillow."""
    with warnings.catch_warnings(), one_avif_thread():
        # Broken metadata makes Pillow warn. What counts is whether the pixels can be had.
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        # Our own limit is checked on every file; and what is missing of a file must not be filled with grey.
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


class _WhileAnyThreadDecodes:
    """Our settings from the first thread that begins to decode until the last one is done: threads do not wait."""

    def __init__(self) -> None:
        self._lock, self._num_inside, self._settings = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._settings.enter_context(_own_pillow_settings())
            self._num_inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._settings.close()


_PILLOW_SETTINGS = _WhileAnyThreadDecodes()


def _cannot_decode(part: str, error: Exception) -> ImageRejected:
    # Pillow's plugins answer hostile bytes with nearly any exception class; each of them means "unreadable".
    words = hide_bytes(" ".join(str(error).split()))
    return ImageRejected(Status.UNREADABLE, f"{part} cannot be decoded ({type(error).__name__}: {words})")


def _upright(image: Image.Image) -> Image.Image:
    try:
        method = _TRANSPOSE.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Broken EXIF raises nearly any exception class too, but the pixels are whole: they stay as they lie.
        return image
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        if (key := image.info.get("transparency")) is not None:
            grey[values == key] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "I":  # 16 bits of older Pillow versions, or 32
        low, high = image.getextrema()
        if not 0 <= low <= high <= 65535:  # type: ignore[operator]
            raise ImageRejected(Status.UNREADABLE, f"32-bit samples from {low} to {high}: brightness is not defined")
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageRejected(Status.UNREADABLE, "floating-point samples: brightness is not defined")
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def resize_canvas(image: Image.Image, size_px: int) -> np.ndarray:
    """Squash a whole picture to a square, whatever its aspect ratio (the authors' rule).

    Args:
        image: Picture in mode RGB.
        size_px: Side of the canvas.

    Returns:
        Canvas, (size_px, size_px, 3), uint8. A picture that has this size already is returned as it is.
    """
    if image.size != (size_px, size_px):
        image = image.resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.asarray(image)
