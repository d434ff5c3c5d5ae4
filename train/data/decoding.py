"""Bytes to the pixels that `cache_schema.decode_image` gives, faster for the files that most datasets are made of."""

import struct

import numpy as np
import torch
import torchvision.io  # type: ignore[import-untyped]  # noqa: F401  registers the operators of torch.ops.image
from PIL import Image

from cache_schema import LARGE_BYTES, decode_image, has_more_scans, most_scans, resize_canvas
from train.data.libjpeg import libjpeg_kept_quiet

# What torchvision.io.decode_jpeg calls. That wrapper warns, at every image, that it will be removed; should a version
# come without the operator, only the speed goes.
_DECODE_JPEG = getattr(torch.ops.image, "decode_jpeg", None)
_UNCHANGED = 0
"""Its mode that leaves the number of channels as it is."""

_START_OF_IMAGE = b"\xff\xd8"
_START_OF_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)
"""Baseline, extended sequential and progressive, with Huffman coding."""
_TABLES = (0xC4, 0xDB, 0xDD, 0xFE)
"""Huffman and quantization tables, restart interval, comment."""
_APPLICATION = {0xE0: 16, 0xE2: 16, 0xEC: 2, 0xEE: 14}
"""Application segments without influence on the pixels (JFIF, colour profile, Ducky, Adobe) → least length, as Pillow
refuses some that are cut short. EXIF and XMP (0xE1) may turn the picture."""
_MAX_SEGMENTS = 100
_LARGE_PIXELS = LARGE_BYTES // 9
"""Progressive files take nine bytes a pixel. Above, pictures are decoded in turns, which is Pillow's business."""


def decode_pixels(data: bytes) -> np.ndarray:
    """Decode a file's bytes to upright 8-bit RGB pixels, equal to `cache_schema.decode_image`'s, the authority.

    A plain JPEG goes to torchvision, which writes rows of three bytes a pixel where Pillow writes four and copies them.
    Both use libjpeg-turbo with its exact arithmetic. All other files, and what torchvision refuses, go to Pillow.

    Args:
        data: A whole file.

    Returns:
        (height, width, 3), uint8, C-contiguous; it may be read-only.

    Raises:
        ImageRejected: As `decode_image`.
    """
    if _DECODE_JPEG is not None and is_plain_jpeg(data):
        try:
            with libjpeg_kept_quiet():
                planes = _DECODE_JPEG(torch.frombuffer(bytearray(data), dtype=torch.uint8), _UNCHANGED, False)
        except RuntimeError:  # damaged, or a torchvision that was built without libjpeg
            pass
        else:
            pixels: np.ndarray = planes.permute(1, 2, 0).numpy()
            return pixels
    return np.asarray(decode_image(data))


def is_plain_jpeg(data: bytes) -> bool:
    """Whether the segments before the first scan describe an upright 8-bit JPEG of three colours.

    Segments are read, not checked: a damaged file may pass. Only what its frame header says is held to the limits of
    `decode_image`, so that no memory is taken for what would be refused or decoded in turns.

    Args:
        data: Any bytes.
    """
    if not data.startswith(_START_OF_IMAGE):
        return False
    at, has_frame = len(_START_OF_IMAGE), False
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(data):
            return False
        prefix, marker, length = struct.unpack_from(">BBH", data, at)
        if prefix != 0xFF:
            return False
        if marker == _START_OF_SCAN:
            return has_frame and not has_more_scans(data, most_scans(_LARGE_PIXELS))
        if marker in _FRAMES:
            if has_frame or not _is_plain_frame(data[at + 4 : at + 10]):
                return False
            has_frame = True
        elif marker in _APPLICATION:
            if length < _APPLICATION[marker] or data.startswith(b"MPF", at + 4):  # several pictures: Pillow's business
                return False
        elif marker not in _TABLES:
            return False
        at += 2 + length
    return False


def _is_plain_frame(header: bytes) -> bool:
    """Whether a frame header has three components of 8 bits, and a size that may be decoded by all workers at once."""
    if len(header) < 6:
        return False
    bits, height, width, components = struct.unpack(">BHHB", header)
    return (bits, components) == (8, 3) and bool(0 < height * width <= _LARGE_PIXELS)


def to_canvas(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """Squash pixels to the square that extraction saw, by the rule of both stages.

    Args:
        pixels: (height, width, 3), uint8.
        size_px: Side of the canvas.

    Returns:
        (size_px, size_px, 3), uint8; the same array if it has this size.
    """
    if pixels.shape[:2] == (size_px, size_px):
        return pixels
    return resize_canvas(Image.fromarray(pixels), size_px)
