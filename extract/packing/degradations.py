"""What images go through, by kind and number ("jpeg:65"): how it is written, and what it does to a picture."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from cache_schema import decode_image
from extract.packing.pixels import (
    encode,
    encode_jpeg,
    encode_png,
    long_side_to_at_most,
    part_of_area,
    random_box,
    resize,
    short_side_to,
)

SOCIAL_PX, SOCIAL_QUALITY = 720, 75


@dataclass(frozen=True)
class _Number:
    """The number after a kind's colon: above 0, at most `most`."""

    letter: str
    most: int
    whole: bool

    @property
    def range(self) -> str:
        return f"whole, 1 … {self.most}" if self.whole else f"above 0, at most {self.most}"


_DEGRADATIONS = {
    "jpeg": _Number("Q", 100, whole=True),
    "webp": _Number("Q", 100, whole=True),
    "resize": _Number("S", 4096, whole=True),
    "blur": _Number("SIGMA", 100, whole=False),
    "noise": _Number("SD", 255, whole=False),
    "crop": _Number("F", 1, whole=False),
    "blend": _Number("F", 1, whole=False),
    "social": None,
}


def parse_degradation(text: str) -> tuple[str, float]:
    """Kind and number of a degradation, "jpeg:65" → ("jpeg", 65.0); 0 for a kind without a number.

    Raises:
        ValueError: If there is no such kind, or its number is missing or out of range.
    """
    kind, colon, written = text.partition(":")
    if kind not in _DEGRADATIONS:
        known = ", ".join(f"{k}:{n.letter}" if n else k for k, n in _DEGRADATIONS.items())
        raise ValueError(f"degrade is {text!r}: expected one of {known}")
    expected = _DEGRADATIONS[kind]
    if expected is None:
        if colon:
            raise ValueError(f"degrade is {text!r}: {kind} takes no number")
        return kind, 0.0
    try:
        number = float(int(written) if expected.whole else written)
    except ValueError:
        number = math.nan
    if not 0 < number <= expected.most:
        raise ValueError(
            f"degrade is {text!r}: expected {kind}:{expected.letter} with {expected.letter} {expected.range}"
        )
    return kind, number


def degrade(image: Image.Image, kind: str, number: float, rng: Generator) -> bytes:
    """The file of a degraded image.

    Args:
        image: RGB.
        kind: Any but `blend`, which needs a second image.
        number: As `parse_degradation` gave.
        rng: Random numbers of this image.
    """
    if kind == "jpeg":
        return encode_jpeg(image, int(number))
    if kind == "webp":
        return encode(image, "WEBP", quality=int(number))
    if kind == "social":
        for _ in range(2):
            data = encode_jpeg(resize(image, long_side_to_at_most(*image.size, SOCIAL_PX)), SOCIAL_QUALITY)
            image = decode_image(data)
        return data
    if kind == "resize":
        return encode_png(resize(image, short_side_to(*image.size, int(number))))
    if kind == "blur":
        return encode_png(image.filter(ImageFilter.GaussianBlur(number)))
    if kind == "noise":
        pixels = np.asarray(image, dtype=np.float32)
        noisy = pixels + number * rng.standard_normal(pixels.shape, dtype=np.float32)
        return encode_png(Image.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8)))
    assert kind == "crop", kind
    return encode_png(image.crop(random_box(*image.size, number, rng)))


def blend(image: Image.Image, photograph: Image.Image, fraction: float, rng: Generator) -> Image.Image:
    """The image with a rectangle of the photograph, which is squashed to the image's size first, in its place."""
    box = random_box(*image.size, fraction, rng)
    blended = image.copy()
    blended.paste(resize(photograph, image.size).crop(box), box)
    return blended


def sizes_of_copy(kind: str, number: float, width: int, height: int) -> list[tuple[int, int]]:
    """Sizes that arise on the way to a degraded image."""
    if kind == "resize":
        return [short_side_to(width, height, int(number))]
    if kind == "social":
        return [long_side_to_at_most(width, height, SOCIAL_PX)]
    if kind in ("crop", "blend"):
        return [(width, height), part_of_area(width, height, number)]
    return [(width, height)]
