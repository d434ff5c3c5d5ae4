"""Changes to the image alone: what files go through on the way to a viewer. Off by default.

A picture is changed at its own size, before a view brings it to a canvas or cuts it: files are blurred and encoded
whole. On a canvas every crop would see the blocks of JPEG at the same places, and at a size that no file has them at.

The map stays as extracted. Geometry, which moves image and map together, is in `train.data.views`.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from torchvision.transforms.v2.functional import (  # type: ignore[import-untyped]
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

from cache_schema import decoding_turn
from train.data.decoding import decode_pixels
from train.data.plan import seeded_rng

MAX_JPEG_PX = 65_500
"""Longest side that libjpeg encodes."""
CHANGES = ("color", "blur", "jpeg")
"""In the order that they are made in."""
_BYTES_A_PIXEL = 16
"""Memory that a change takes at most: two pictures of Pillow's, which keeps four bytes a pixel, and their arrays."""


@dataclass(frozen=True)
class ImageChanges:
    """Random changes of training images, each with a probability: colour first, then blur, then JPEG.

    What is drawn is a function of (seed, epoch, key), and each change has a stream of its own: turning one on does not
    move the others.

    Raises:
        ValueError: If a probability or a range is out of bounds.
    """

    jpeg_probability: float = 0.0
    """How many of the images are encoded as JPEG (4:2:0) and decoded again. A side above 65,500 px fits no JPEG: such
    an image stays as it is."""
    jpeg_quality: tuple[int, int] = (50, 95)
    """Least and greatest quality, of 1 … 100; every whole number between is as likely."""
    blur_probability: float = 0.0
    """How many of the images are blurred by a Gaussian (Pillow's: three box filters of together that variance)."""
    blur_sigma: tuple[float, float] = (0.5, 2.0)
    """Least and greatest standard deviation, in px of the picture at its own size."""
    color_probability: float = 0.0
    """How many of the images get another brightness, contrast, saturation and hue, in this order."""
    brightness: float = 0.2
    """The factor of brightness lies in [1 − this, 1 + this]."""
    contrast: float = 0.2
    """The factor of contrast lies in [1 − this, 1 + this]."""
    saturation: float = 0.2
    """The factor of saturation lies in [1 − this, 1 + this]."""
    hue: float = 0.02
    """Greatest turn of the hue to either side, as a part of the whole circle, at most 0.5."""

    def __post_init__(self) -> None:
        """Check probabilities and ranges."""
        for name in (*(f"{change}_probability" for change in CHANGES), "brightness", "contrast"):
            _check_range(name, (0.0, getattr(self, name)), 1.0)
        _check_range("saturation", (0.0, self.saturation), 1.0)
        _check_range("hue", (0.0, self.hue), 0.5)
        _check_range("blur_sigma", self.blur_sigma, 100.0)
        _check_range("jpeg_quality", self.jpeg_quality, 100)
        if self.jpeg_quality[0] < 1:
            raise ValueError(f"jpeg_quality begins at {self.jpeg_quality[0]}: expected at least 1")

    @property
    def any(self) -> bool:
        """Whether any change has a probability above 0."""
        return any(getattr(self, f"{change}_probability") > 0 for change in CHANGES)

    def changes(self, seed: int, epoch: int, key: str) -> bool:
        """Whether `apply` changes this picture: known before it is decoded."""
        return self.any and any(self._draw(seed, epoch, key).values())

    def _draw(self, seed: int, epoch: int, key: str) -> dict[str, np.random.Generator | None]:
        return {change: _drawn(change, getattr(self, f"{change}_probability"), seed, epoch, key) for change in CHANGES}

    def apply(self, pixels: np.ndarray, seed: int, epoch: int, key: str) -> np.ndarray:
        """Change a picture.

        Args:
            pixels: The picture at its own size, (height, width, 3), uint8; it is left as it is.
            seed: Seed of the run.
            epoch: Number of the epoch.
            key: Key of the sample.

        Returns:
            Same shape, uint8. The very same array if nothing was drawn.
        """
        drawn = self._draw(seed, epoch, key)
        if not any(drawn.values()):
            return pixels
        with decoding_turn(pixels.size // 3 * _BYTES_A_PIXEL):
            picture = unchanged = Image.fromarray(pixels)
            if (rng := drawn["color"]) is not None:
                picture = self._recolor(picture, rng)
            if (rng := drawn["blur"]) is not None:
                picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(*self.blur_sigma)))
            if (rng := drawn["jpeg"]) is None or max(picture.size) > MAX_JPEG_PX:
                return pixels if picture is unchanged else np.asarray(picture)
            data = _to_jpeg(picture, int(rng.integers(*self.jpeg_quality, endpoint=True)))
        return decode_pixels(data)  # has a turn of its own

    def _recolor(self, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        picture = adjust_brightness(picture, 1 + self.brightness * rng.uniform(-1, 1))
        picture = adjust_contrast(picture, 1 + self.contrast * rng.uniform(-1, 1))
        picture = adjust_saturation(picture, 1 + self.saturation * rng.uniform(-1, 1))
        if self.hue:  # turning it by nothing would still round: Pillow keeps hue, saturation and value in 8 bits each
            picture = adjust_hue(picture, self.hue * rng.uniform(-1, 1))
        return picture


def _drawn(change: str, probability: float, seed: int, epoch: int, key: str) -> np.random.Generator | None:
    """The stream of a change, after the draw that says it happens; None if it does not."""
    if not probability:
        return None
    rng = seeded_rng(change, seed, epoch, key)
    return rng if rng.random() < probability else None


def _to_jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


def _check_range(name: str, bounds: tuple[float, float], most: float) -> None:
    low, high = bounds
    if not 0 <= low <= high <= most:
        raise ValueError(f"{name} is {high if low == 0 else list(bounds)}: expected a number or range in 0 … {most:g}")


NO_CHANGES = ImageChanges()
"""Images as they are."""
