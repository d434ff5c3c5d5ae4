"""Files in the formats that stage 1 does not take, really made by the libraries that read them."""

import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  registers its format in Pillow
from PIL import Image

from tests.bad_images import encode, png_chunk, quadrants

pillow_heif.register_heif_opener()


def oriented_exif(orientation: int) -> bytes:
    """EXIF data that say nothing but how the picture is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def heic(*images: Image.Image, **options: Any) -> bytes:
    """A HEIC file of one or more pictures, whose colours are right to a few levels."""
    first, *rest = images or (quadrants(),)
    many = {"save_all": True, "append_images": rest} if rest else {}
    return encode(first, "HEIF", **{"quality": 95, "chroma": 444, **many, **options})


def avif(image: Image.Image | None = None, **options: Any) -> bytes:
    """An AVIF file, whose colours are right to a few levels."""
    return encode(image or quadrants(), "AVIF", **{"quality": 95, "subsampling": "4:4:4", "speed": 10, **options})


def jxl(image: Image.Image | None = None, **options: Any) -> bytes:
    """A JPEG XL file, exact unless told otherwise."""
    return encode(image or quadrants(), "JXL", **{"lossless": True, **options})


def with_other_size(data: bytes, size: tuple[int, int], other: tuple[int, int]) -> bytes:
    """A HEIC or AVIF file that claims another size (box `ispe`)."""
    assert struct.pack(">II", *size) in data
    return data.replace(struct.pack(">II", *size), struct.pack(">II", *other))


def jxl_bits(*fields: tuple[int, int]) -> bytes:
    """The beginning of a JPEG XL codestream: values, each with its number of bits."""
    value = shift = 0
    for field, count in fields:
        value |= field << shift
        shift += count
    return b"\xff\x0a" + value.to_bytes(-(-shift // 8), "little")


def jxl_size(width: int, height: int) -> tuple[tuple[int, int], ...]:
    """Fields of a size header, in its longest form."""
    return ((0, 1), (3, 2), (height - 1, 30), (0, 3), (3, 2), (width - 1, 30))


ORDINARY = ((0, 1), (0, 2), (1, 1), (0, 2), (1, 1), (1, 1), (1, 1), (0, 2), (1, 1))
"""8 bits a sample, no extra channel, colours as lossy files have them, no extension, no own transform."""


def turned_jxl(orientation: int) -> bytes:
    """The quadrants in a codestream with an orientation of its own."""
    data = jxl(lossless=False, quality=95)
    header = b"\xff\x0a\x07\x07\x00"
    assert data.startswith(header), data[:8]
    # 8 rows and 3:2 by the short form; metadata that are not the usual ones, with extra fields.
    size = ((1, 1), (3, 5), (4, 3))
    fields = (*size, (0, 1), (1, 1), (orientation - 1, 3), (0, 1), (0, 1), (0, 1), *ORDINARY)
    return jxl_bits(*fields) + data[4:]


def zeros(num_mb: int) -> bytes:
    """So many MB of zeros, packed by zlib to a thousandth."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(num_mb)) + packer.flush()


def png_with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG with a chunk put behind its header."""
    return data[:33] + png_chunk(name, content) + data[33:]


def noise(size: tuple[int, int] = (64, 64), mode: str = "RGB") -> Image.Image:
    """Seeded noise."""
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), mode)
