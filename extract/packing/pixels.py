"""Pictures cut, resized and encoded: what copies are made of. Sizes are (width, height) in px."""

import io
import math

import numpy as np
from numpy.random import Generator
from PIL import Image


def central_square(image: Image.Image, side_px: int) -> Image.Image:
    """The largest central square, brought to a side in px."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return resize(image.crop((left, top, left + side, top + side)), (side_px, side_px))


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bicubic; the image itself where it has the size already."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def random_box(width: int, height: int, fraction: float, rng: Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a rectangle with a fraction of the area, everywhere equally likely."""
    w, h = part_of_area(width, height, fraction)
    left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    return left, top, left + w, top + h


def part_of_area(width: int, height: int, fraction: float) -> tuple[int, int]:
    """Sides of a rectangle of the same aspect ratio with a fraction of the area."""
    return round(width * math.sqrt(fraction)), round(height * math.sqrt(fraction))


def short_side_to(width: int, height: int, side_px: int) -> tuple[int, int]:
    """Sides once the short one is `side_px`."""
    short = min(width, height)
    return round(width * side_px / short), round(height * side_px / short)


def long_side_to_at_most(width: int, height: int, side_px: int) -> tuple[int, int]:
    """Sides once the long one is at most `side_px`; never enlarged."""
    long = max(width, height)
    return (width, height) if long <= side_px else (round(width * side_px / long), round(height * side_px / long))


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """JPEG of a quality, 4:2:0."""
    return encode(image, "JPEG", quality=quality, subsampling="4:2:0")


def encode_png(image: Image.Image) -> bytes:
    """PNG."""
    return encode(image, "PNG")


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    """A file of the pixels alone, without metadata."""
    buffer = io.BytesIO()
    # From the pixels alone: Pillow's encoders also write what the opened file left in `image.info`.
    Image.fromarray(np.asarray(image)).save(buffer, file_format, **options)
    return buffer.getvalue()
