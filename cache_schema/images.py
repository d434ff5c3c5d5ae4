"""Bytes to pixels: the decoding and resizing rule, one definition for both stages.

Extraction encodes the canvas made here, and training cuts its crops out of the same canvas, so that a pixel of the
image and a cell of its map lie where they should.
"""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cache_schema.store import Status

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
RULES = {"color": "rgb8", "alpha": "over-white", "orientation": "exif", "resize": "squash", "filter": "bicubic"}
"""The fingerprint fields that this module fixes."""


class ImageRejected(Exception):
    """An image cannot be used. `status` and `reason` go into the cache in place of a map."""

    def __init__(self, status: Status, reason: str) -> None:
        """Keep the status and the reason."""
        super().__init__(reason)
        self.status, self.reason = status, reason


def decode_image(data: bytes) -> Image.Image:
    """Decode a file's bytes to an upright 8-bit RGB picture.

    The first frame of an animation is taken, the EXIF orientation applied, transparency put over white, 16-bit grey
    brought to 8 bits, any other mode converted by Pillow.

    Args:
        data: A whole file in one of `FORMATS`; the file's name plays no role.

    Returns:
        Picture in mode RGB.

    Raises:
        ImageRejected: If the bytes are no such file, are damaged, or claim more than `MAX_PIXELS`.
    """
    if not data:
        raise ImageRejected(Status.UNREADABLE, "empty file")
    try:
        with warnings.catch_warnings():
            # Broken metadata makes Pillow warn. What counts is whether the pixels can be had.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise ImageRejected(Status.TOO_LARGE, f"{image.width} x {image.height} pixels, at most {MAX_PIXELS}")
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except ImageRejected:
        raise
    except Image.DecompressionBombError as error:
        raise ImageRejected(Status.TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageRejected(Status.UNREADABLE, f"cannot identify it as one of {', '.join(FORMATS)}") from error
    except Exception as error:
        # Pillow's plugins answer hostile bytes with nearly any exception class; each of them means "unreadable".
        raise ImageRejected(Status.UNREADABLE, f"{type(error).__name__}: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray((values // 256).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


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
