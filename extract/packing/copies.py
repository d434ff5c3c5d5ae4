"""Re-encoded copies of images: real and generated brought to one file format, or degraded in one and the same way.

Photographs and generated images of a set usually differ in file format and size. A detector that reads format and size
scores well for the wrong reason. `match` removes the difference; `degrade` shows what a score is worth after common
processing. Both treat photographs and generated images by the same function and the same encoder.
"""

import hashlib
from dataclasses import dataclass

from numpy.random import Generator, Philox

from cache_schema import check_choice, decode_image
from extract.packing.degradations import blend, degrade, parse_degradation, sizes_of_copy
from extract.packing.pixels import central_square, encode_jpeg, encode_png

COPY_RULE = "copy/1"
"""Names the drawing of random numbers below in the hashed text."""
MATCHES = ("common", "select")
MATCH_QUALITY = 96
"""JPEG quality of matched images: the commonest of ImageNet's photographs."""
COMMON_PX = 256
"""Side of the squares that `match: common` makes."""
SELECT_PX = (450, 550)
"""Least and greatest side of the photographs that `match: select` keeps: around the 512 px of most generated images."""
MAX_SIDE_PX = 16_383
"""Longest side of a copy, the most that WebP can hold: one bound for all, so that all have the same images."""


@dataclass(frozen=True)
class CopyRule:
    """Which copy of each image is packed in place of its original bytes. At most one of `match` and `degrade`.

    | match | becomes |
    | --- | --- |
    | common | every image: the largest central square, bicubic to 256 px, JPEG 96 |
    | select | photographs that are JPEG 96 with sides within `select_px` as they are, no others; all else JPEG 96 |

    | degrade | becomes |
    | --- | --- |
    | jpeg:Q, webp:Q | that format and quality |
    | resize:S | short side S px, enlarged if it was shorter, bicubic; PNG |
    | blur:SIGMA | Gaussian blur (Pillow's: three box filters of together that variance); PNG |
    | noise:SD | Gaussian noise of SD/255 on each channel; PNG |
    | crop:F | a rectangle of the same aspect ratio with F of the area, at a random place; PNG |
    | blend:F | such a rectangle taken from the photograph that it was made from, reals as they are; PNG |
    | social | long side at most 720 px, never enlarged, JPEG 75, and the same once more |

    JPEG is 4:2:0 throughout. A copy carries no metadata, and depends on key, bytes, photograph, rule and the version of
    Pillow alone; what is random about it is a function of (seed, kind, key).

    Attributes:
        match: Brings real and generated images to one file format.
        degrade: Degrades every image; kind and number, "jpeg:65".
        seed: Seed of what is random.
        select_px: Least and greatest side of the photographs that `select` keeps.

    Raises:
        ValueError: If a kind is unknown, its number or `select_px` out of range, or both kinds of copies are asked for:
            a packed dataset can be the source of the next packing.
    """

    match: str | None = None
    degrade: str | None = None
    seed: int = 0
    select_px: tuple[int, int] = SELECT_PX

    def __post_init__(self) -> None:
        """Check kinds and numbers."""
        if self.match is not None:
            check_choice("match", self.match, MATCHES)
        if self.degrade is not None:
            parse_degradation(self.degrade)
        if not 1 <= self.select_px[0] <= self.select_px[1]:
            raise ValueError(f"select_px is {self.select_px}: expected the least and the greatest side, 1 or more")
        if self.match is not None and self.degrade is not None:
            raise ValueError(
                f"match is {self.match} and degrade is {self.degrade}: expected at most one. Pack with match first, "
                "then pack what that made with degrade."
            )

    @property
    def is_copy(self) -> bool:
        """Whether anything but the original bytes is packed."""
        return self.match is not None or self.degrade is not None

    @property
    def needs_photograph(self) -> bool:
        """Whether `make` needs the photograph that an image was made from."""
        return self._degradation[0] == "blend"

    @property
    def _degradation(self) -> tuple[str, float]:
        return ("", 0.0) if self.degrade is None else parse_degradation(self.degrade)

    def rejection(
        self, *, label: int | None, width: int, height: int, jpeg_quality: int | None, derived_from: str | None
    ) -> str | None:
        """Why an image is left out under this rule, or None if it is not. To be asked before `make`.

        Args:
            label: 0 real, 1 generated, None for a control.
            width: In px, before or after the EXIF orientation: it does not matter here.
            height: In px.
            jpeg_quality: Of its file, None if that is no JPEG with standard tables.
            derived_from: Key of the photograph that it was made from.
        """
        if self.match == "select" and label == 0:
            least, most = self.select_px
            if jpeg_quality == MATCH_QUALITY and least <= min(width, height) and max(width, height) <= most:
                return None
            quality = "no standard JPEG quality" if jpeg_quality is None else f"JPEG quality {jpeg_quality}"
            return (
                f"match select keeps photographs of JPEG quality {MATCH_QUALITY} with sides of {least} … {most} px; "
                f"this one has {quality} and {width} × {height} px"
            )
        if self.needs_photograph and label != 0 and derived_from is None:
            return f"{self.degrade} needs the photograph that an image was made from, and none is known (derived_from)"
        rule = self.degrade or f"match {self.match}"
        for size in self._sizes(width, height):
            if min(size) < 1:
                return f"{width} × {height} px are too small: {rule} would come to {size[0]} × {size[1]}"
            if max(size) > MAX_SIDE_PX:
                return f"{rule} of {width} × {height} px has {size[0]} × {size[1]}: sides have at most {MAX_SIDE_PX} px"
        return None

    def _sizes(self, width: int, height: int) -> list[tuple[int, int]]:
        """Sizes that arise in the making of a copy, width and height in px."""
        if not self.is_copy or self.match == "common":
            return []
        return sizes_of_copy(*self._degradation, width, height)

    def make(self, key: str, data: bytes, *, label: int | None, photograph: bytes | None) -> bytes:
        """The file bytes that are packed for an image that `rejection` lets pass.

        Args:
            key: Its sample key.
            data: Its file.
            label: 0 real, 1 generated, None for a control.
            photograph: File of the photograph that it was made from; used where `needs_photograph`, and not for reals.

        Raises:
            ImageRejected: If the file or the photograph cannot be decoded.
            ValueError: If a photograph is needed and None.
        """
        if not self.is_copy or (self.match == "select" and label == 0):
            return data
        image = decode_image(data)
        if self.match == "common":
            return encode_jpeg(central_square(image, COMMON_PX), MATCH_QUALITY)
        if self.match == "select":
            return encode_jpeg(image, MATCH_QUALITY)
        kind, number = self._degradation
        if kind == "blend":
            if label == 0:
                return encode_png(image)
            if photograph is None:
                raise ValueError(f"{key}: {self.degrade} needs the photograph that the image was made from")
            return encode_png(blend(image, decode_image(photograph), number, self._rng(key)))
        return degrade(image, kind, number, self._rng(key))

    def _rng(self, key: str) -> Generator:
        """Random numbers of one image: a function of seed, kind and key, whatever its neighbours and the number."""
        digest = hashlib.sha256(f"{COPY_RULE}|{self.seed}|{self._degradation[0]}|{key}".encode()).digest()
        return Generator(Philox(key=int.from_bytes(digest[:16], "little")))
