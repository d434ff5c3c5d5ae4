"""One picture as the files in which people meet it: other formats, other sizes, a screenshot."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from extract import parse_degradation
from extract.packing.degradations import degrade

REFERENCE = "PNG"
"""The picture as it is; what all others are compared with."""
CODECS = {"JPEG 95": "jpeg:95", "JPEG 75": "jpeg:75", "JPEG 50": "jpeg:50", "WebP 80": "webp:80"}
"""File → the degradation of packing that makes it."""
SCALES = {"half size": 0.5, "double size": 2.0, "thumbnail, 25 %": 0.25}
"""File → factor of both sides; bicubic, as PNG."""
SCREENSHOT = "screenshot"
SCREEN_SCALE, SCREEN_BORDER, SCREEN_GREY = 1.25, 0.08, 243
"""A screen shows the picture larger, bilinear, on a light page; the cut takes some of the page along: a share of the
picture's short side, in grey levels of 255."""
FILES = (REFERENCE, *CODECS, *SCALES, SCREENSHOT)


def make_files(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    """Each of `FILES` with its bytes.

    Args:
        image: Upright, in mode RGB.
    """
    short = min(image.size)
    wanted = {REFERENCE: f"resize:{short}", **CODECS}
    wanted |= {name: f"resize:{max(1, round(short * scale))}" for name, scale in SCALES.items()}
    for name, degradation in wanted.items():
        yield name, _degrade(image, degradation)
    screen = take_screenshot(image)
    yield SCREENSHOT, _degrade(screen, f"resize:{min(screen.size)}")


def take_screenshot(image: Image.Image) -> Image.Image:
    """The picture as a screen shows it, with a border of the page around it, in mode RGB."""
    shown = image.resize([round(side * SCREEN_SCALE) for side in image.size], Image.Resampling.BILINEAR)
    border = max(1, round(min(shown.size) * SCREEN_BORDER))
    page = Image.new("RGB", (shown.width + 2 * border, shown.height + 2 * border), (SCREEN_GREY,) * 3)
    page.paste(shown, (border, border))
    return page


def _degrade(image: Image.Image, degradation: str) -> bytes:
    # None of these kinds draws random numbers.
    return degrade(image, *parse_degradation(degradation), np.random.default_rng(0))
