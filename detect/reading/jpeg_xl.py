"""JPEG XL files, by pillow-jxl-plugin: it decodes as it opens, so the header is read here first.

The decoder sees the codestream alone. Boxes around it may be packed a thousandfold, and none of them moves a pixel: the
orientation is in the codestream (ISO/IEC 18181-2 puts it above that of the EXIF box).
"""

import io
import struct
from dataclasses import dataclass
from importlib import import_module

from PIL import Image

from cache_schema import MAX_PIXELS, ImageRejected, Status

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
MAX_BOXES = 100_000
MAX_SAMPLES = 4 * MAX_PIXELS
"""Colours and extra channels together: four channels of the largest picture."""
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""Code → width to height (ISO/IEC 18181-1, SizeHeader)."""


@dataclass(frozen=True)
class Header:
    """What a codestream says of itself.

    Attributes:
        width: In px, as stored, before the codestream's own orientation is applied.
        height: As `width`.
        is_animated: Whether it may have several frames.
        num_extra_channels: Alpha, spot colours, depth.
    """

    width: int
    height: int
    is_animated: bool
    num_extra_channels: int


def is_jpeg_xl(data: bytes) -> bool:
    """Whether a file begins as a JPEG XL file, bare or in a container."""
    return data.startswith((CODESTREAM, CONTAINER))


def open_jpeg_xl(file: io.BytesIO) -> Image.Image:
    """Open and decode a JPEG XL file; bounds are checked before.

    Raises:
        ImageRejected: If it is too large, or the plugin is not installed.
        ValueError: If it is damaged or cut short.
    """
    codestream = find_codestream(file.getvalue())
    header = read_header(codestream)
    if header.width * header.height > MAX_PIXELS:
        raise ImageRejected(Status.TOO_LARGE, f"{header.width} x {header.height} pixels, at most {MAX_PIXELS}")
    if header.width * header.height * (3 + header.num_extra_channels) > MAX_SAMPLES:
        channels = f"{header.width} x {header.height} pixels with {header.num_extra_channels} extra channels"
        raise ImageRejected(Status.TOO_LARGE, f"{channels}, at most {MAX_SAMPLES} samples")
    try:
        plugin = import_module("pillow_jxl.JpegXLImagePlugin")
    except ImportError as error:
        reason = "a JPEG XL file, which needs one more library: pip install 'lare2-cache[formats]'"
        raise ImageRejected(Status.UNREADABLE, reason) from error
    try:
        image: Image.Image = plugin.JXLImageFile(io.BytesIO(codestream))
    except BaseException as error:
        # The library's own class for a broken assertion is no Exception.
        if isinstance(error, RuntimeError) or type(error).__name__ == "PanicException":
            raise ValueError("JPEG XL codestream is damaged or cut short") from error
        raise
    image.is_animated = header.is_animated  # type: ignore[attr-defined]
    return image


def find_codestream(data: bytes) -> bytes:
    """The codestream of a file: all of it, or the boxes `jxlc` and `jxlp` of a container, joined.

    Raises:
        ValueError: If there is none.
    """
    if data.startswith(CODESTREAM):
        return data
    parts, at = [], 0
    for _ in range(MAX_BOXES):
        if at + 8 > len(data):
            break
        size, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and at + 16 <= len(data):
            size, start = struct.unpack_from(">Q", data, start)[0], at + 16
        end = at + size if size else len(data)
        if end < start:
            break
        if name in (b"jxlc", b"jxlp"):
            parts.append(data[start + (4 if name == b"jxlp" else 0) : end])  # a part begins with its number
        at = end
    if not parts:
        raise ValueError("no JPEG XL codestream in its container")
    return b"".join(parts)


def read_header(codestream: bytes) -> Header:
    """Read the first fields of a codestream (ISO/IEC 18181-1: SizeHeader, ImageMetadata).

    Raises:
        ValueError: If it ends before them, or is no codestream.
    """
    if not codestream.startswith(CODESTREAM):
        raise ValueError("no JPEG XL codestream")
    bits = _Bits(codestream[len(CODESTREAM) : 128])
    width, height = _read_size(bits)
    is_animated = False
    if bits.take(1):  # everything else has its usual value
        return Header(width, height, is_animated, 0)
    if bits.take(1):
        bits.take(3)  # orientation, which the decoder applies
        if bits.take(1):
            _read_size(bits)  # intended size for display
        if bits.take(1):
            _read_preview(bits)
        is_animated = bool(bits.take(1))
        if is_animated:
            bits.choose((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.choose((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.choose((0, 0), (0, 3), (0, 16), (0, 32))
            bits.take(1)
    if bits.take(1):  # floating point
        bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
        bits.take(4)
    else:
        bits.choose((8, 0), (10, 0), (12, 0), (1, 6))
    bits.take(1)
    return Header(width, height, is_animated, bits.choose((0, 0), (1, 0), (2, 4), (1, 12)))


def _read_size(bits: "_Bits") -> tuple[int, int]:
    is_small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if is_small else bits.choose((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.take(3)
    return (height * _RATIOS[ratio][0] // _RATIOS[ratio][1] if ratio else side()), height


def _read_preview(bits: "_Bits") -> None:
    in_eights = bits.take(1)
    choices = ((16, 0), (32, 0), (1, 5), (33, 9)) if in_eights else ((1, 6), (65, 8), (321, 10), (1345, 12))
    bits.choose(*choices)
    if not bits.take(3):
        bits.choose(*choices)


class _Bits:
    """Bits of a codestream, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        """An unsigned number of so many bits.

        Raises:
            ValueError: If there are not so many.
        """
        if count > self._left:
            raise ValueError("JPEG XL header is cut short")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """A number whose form, by two bits, is one of four: its least value and how many bits are added (U32)."""
        least, count = choices[self.take(2)]
        return least + self.take(count)
