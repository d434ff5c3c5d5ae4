"""Bad and odd image files, really made, each with what must become of it."""

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from cache_schema import Status

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
SIZE = (48, 32)
"""Width and height of the picture that most files show."""


@dataclass(frozen=True)
class Case:
    """A file with its outcome: either a picture of this size, or a rejection with this status and reason."""

    extension: str
    """Of the file's name, which the decoder never sees."""
    make: Callable[[], bytes]
    size: tuple[int, int] | None = None
    corner: tuple[int, int, int] | None = None
    """The top left pixel, where it is known."""
    status: Status | None = None
    reason: str = ""
    """Regular expression."""

    @cache  # noqa: B019  a module-level table: nothing outlives it
    def data(self) -> bytes:
        """The file's bytes."""
        return self.make()


def quadrants(mode: str = "RGB") -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right: shows how it lies."""
    image, (width, height) = Image.new("RGB", SIZE, WHITE), SIZE
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 2 - 1, height // 2 - 1), RED)
    draw.rectangle((width // 2, 0, width, height // 2 - 1), GREEN)
    draw.rectangle((0, height // 2, width // 2 - 1, height), BLUE)
    return image.convert(mode)


def noise() -> Image.Image:
    """Hardly compressible, so that a cut goes through pixels."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    """Save to bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(image: Image.Image | None = None, **options: object) -> bytes:
    """A JPEG whose colours are those of the picture to a few levels."""
    return encode(image or quadrants(), "JPEG", **{"quality": 95, "subsampling": 0, **options})


def png(image: Image.Image | None = None, **options: object) -> bytes:
    """A PNG."""
    return encode(image or quadrants(), "PNG", **options)


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk with its right checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(
    width: int, height: int, row: bytes, *, depth: int, color: int, num_rows: int | None = None, more: bytes = b""
) -> bytes:
    """A PNG written by hand, of equal rows; as many of them as it claims unless told otherwise."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(b"\0" + row) for _ in range(height if num_rows is None else num_rows))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed + packer.flush()), (b"IEND", b"")]
    head, *rest = (png_chunk(name, content) for name, content in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + more + b"".join(rest)


def oriented(format: str, orientation: object) -> Callable[[], bytes]:
    """The picture stored as it is, with an EXIF orientation."""

    def make() -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {"lossless": True}
        return encode(quadrants(), format, exif=exif, **options)

    return make


def ycck() -> bytes:
    """A CMYK JPEG whose Adobe marker says YCCK: the first three channels are decoded as YCbCr."""
    data = bytearray(jpeg(Image.new("CMYK", SIZE, (0, 128, 128, 0))))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def garbage_in_the_middle() -> bytes:
    data = bytearray(jpeg(noise()))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(range(64))
    return bytes(data)


def with_app_segment(marker: int, content: bytes) -> bytes:
    """The JPEG with a segment put after its first marker."""
    data = jpeg()
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + data[2:]


def png_with(**texts: str) -> bytes:
    """The PNG with compressed text."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text, zip=True)
    return png(pnginfo=info)


def with_png_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG with a chunk put behind its header."""
    return data[:33] + png_chunk(name, content) + data[33:]


def with_wrong_checksum(name: bytes, content: bytes) -> bytes:
    """The PNG with a chunk whose checksum is not that of its content."""
    data = bytearray(with_png_chunk(png(), name, content))
    data[33 + 8 + len(content)] ^= 0xFF
    return bytes(data)


def packed_zeros(num_mb: int) -> bytes:
    return zlib.compress(bytes(num_mb * 2**20))


BROKEN_BESIDE_PIXELS: dict[str, Callable[[], bytes]] = {
    "large profile": lambda: with_png_chunk(png(), b"iCCP", b"icc\0\0" + packed_zeros(3)),
    "large international text": lambda: with_png_chunk(png(), b"iTXt", b"workflow\0\1\0\0\0" + packed_zeros(3)),
    "large text behind its pixels": lambda: (
        png()[:-12] + png_chunk(b"zTXt", b"prompt\0\0" + packed_zeros(3)) + png_chunk(b"IEND", b"")
    ),
    "large XMP": lambda: with_png_chunk(png(), b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed_zeros(3)),
    "text with a wrong checksum": lambda: with_wrong_checksum(b"tEXt", b"parameters\0a photo"),
    "EXIF with a wrong checksum": lambda: with_wrong_checksum(b"eXIf", b"MM\0*"),
    "text of an unknown packing": lambda: with_png_chunk(png(), b"zTXt", b"a\0\7b"),
    "short resolution": lambda: with_png_chunk(png(), b"pHYs", b"\0"),
    "short gamma": lambda: with_png_chunk(png(), b"gAMA", b""),
    "short chromaticities": lambda: with_png_chunk(png(), b"cHRM", b"\0" * 5),
    "empty intent": lambda: with_png_chunk(png(), b"sRGB", b""),
    "short animation": lambda: with_png_chunk(png(), b"acTL", b"\0"),
    "broken frame": lambda: with_png_chunk(png(), b"fcTL", bytes(26)),
}
"""What fails in Pillow's reading, and no pixel depends on."""


def damaged_png(at: bytes, shift: int) -> bytes:
    """The noise PNG with a byte flipped, so far behind the first occurrence of a chunk's name."""
    data = bytearray(png(noise()))
    data[data.index(at) + shift] ^= 0xFF
    return bytes(data)


def fax_tiff(compression: str) -> bytes:
    """A whole black-and-white TIFF in a fax coding."""
    return encode(noise().convert("1"), "TIFF", compression=compression)


def damaged_fax_tiff(compression: str) -> Callable[[], bytes]:
    """The fax-coded TIFF with four bytes of its pixels overwritten: Pillow still returns pixels."""

    def make() -> bytes:
        data = bytearray(fax_tiff(compression))
        at = int(Image.open(io.BytesIO(data)).tag_v2[273][0]) + 40  # type: ignore[attr-defined]
        data[at : at + 4] = b"\x01\x02\x01\x02"
        return bytes(data)

    return make


def float_tiff(value: float) -> Callable[[], bytes]:
    return lambda: encode(Image.fromarray(np.full((32, 48), value, np.float32)), "TIFF")


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("picture.jpg"))
    return buffer.getvalue()


def gif_with_size(width: int, height: int) -> bytes:
    """A GIF that claims another size, in its header and its first frame."""
    data = bytearray(encode(quadrants("P"), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    frame = data.index(b"\x2c\0\0\0\0")
    data[frame + 5 : frame + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def webp_with_size(side: int) -> bytes:
    """An animated WebP that claims another canvas."""
    data = bytearray(encode(quadrants(), "WEBP", save_all=True, append_images=[noise().resize(SIZE)]))
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = 2 * struct.pack("<I", side - 1)[:3]
    return bytes(data)


def frames(format: str, **options: object) -> Callable[[], bytes]:
    """Several frames or pages, of which the first is the picture."""
    rest = [Image.new("RGB", SIZE, BLACK), noise().resize(SIZE)]
    return lambda: encode(quadrants(), format, save_all=True, append_images=rest, **options)


def cut(data: Callable[[], bytes], fraction: float) -> Callable[[], bytes]:
    """The first part of a file."""
    return lambda: data()[: int(len(data()) * fraction)]


def ok(extension: str, make: Callable[[], bytes], size: Sequence[int] = SIZE, corner: object = RED) -> Case:
    """A file that becomes a picture."""
    return Case(extension, make, size=tuple(size), corner=corner)  # type: ignore[arg-type]


def unreadable(extension: str, make: Callable[[], bytes], reason: str) -> Case:
    """A file that is no picture, or is damaged."""
    return Case(extension, make, status=Status.UNREADABLE, reason=reason)


def too_large(extension: str, make: Callable[[], bytes], reason: str) -> Case:
    """A file that claims more pixels than are decoded."""
    return Case(extension, make, status=Status.TOO_LARGE, reason=reason)


GREY = Image.fromarray(np.full((32, 48), 0x8040, np.uint16))
CLEAR = Image.new("RGBA", SIZE, (255, 0, 0, 0))
WHOLE: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: jpeg(noise()),
    "progressive": lambda: jpeg(noise(), progressive=True),
    "png": lambda: png(noise()),
    "webp": lambda: encode(noise(), "WEBP", quality=90),
    "gif": lambda: encode(noise().convert("P"), "GIF"),
    "bmp": lambda: encode(noise(), "BMP"),
    "tiff": lambda: encode(noise(), "TIFF", compression="tiff_lzw"),
}
"""Whole files of noise, one a format."""

CASES: dict[str, Case] = {
    # Usual files, and formats with more than three channels of eight bits.
    "jpeg": ok("jpg", jpeg),
    "jpeg progressive": ok("jpg", lambda: jpeg(progressive=True)),
    "jpeg grey": ok("jpg", lambda: jpeg(Image.new("L", SIZE, 128)), corner=(128, 128, 128)),
    "jpeg cmyk": ok("jpg", lambda: jpeg(Image.new("CMYK", SIZE, (0, 255, 255, 0)))),
    "jpeg ycck": ok("jpg", ycck, corner=None),
    "jpeg mpo": ok("jpg", frames("MPO", quality=95, subsampling=0)),
    "png 16-bit grey": ok("png", lambda: png(GREY), corner=(128, 128, 128)),
    "png 16-bit grey, clear": ok("png", lambda: png(GREY, transparency=0x8040), corner=WHITE),
    "png 16-bit rgb": ok("png", lambda: raw_png(*SIZE, b"\xff\x40\0\0\0\0" * 48, depth=16, color=2)),
    "png 16-bit rgba": ok(
        "png", lambda: raw_png(*SIZE, b"\xff\x40" + bytes(6) * 1 + bytes(8) * 47, depth=16, color=6), corner=WHITE
    ),
    "png 1-bit": ok("png", lambda: png(Image.new("1", SIZE, 1)), corner=WHITE),
    "png la": ok("png", lambda: png(Image.new("LA", SIZE, (0, 0))), corner=WHITE),
    "png rgba": ok("png", lambda: png(CLEAR), corner=WHITE),
    "png rgba half": ok("png", lambda: png(Image.new("RGBA", SIZE, (0, 0, 0, 51))), corner=(204, 204, 204)),
    "png palette": ok("png", lambda: png(quadrants("P"))),
    "png palette, clear": ok("png", lambda: png(Image.new("P", SIZE, 0), transparency=0), corner=WHITE),
    "png rgb, clear colour": ok("png", lambda: png(transparency=RED), corner=WHITE),
    "gif, clear": ok("gif", lambda: encode(Image.new("P", SIZE, 0), "GIF", transparency=0), corner=WHITE),
    "webp lossless": ok("webp", lambda: encode(quadrants(), "WEBP", lossless=True)),
    "webp rgba": ok("webp", lambda: encode(CLEAR, "WEBP", lossless=True), corner=WHITE),
    "bmp": ok("bmp", lambda: encode(quadrants(), "BMP")),
    "bmp palette": ok("bmp", lambda: encode(quadrants("P"), "BMP")),
    "tiff group 3": ok("tif", lambda: fax_tiff("group3"), size=(64, 64), corner=None),
    "tiff group 4": ok("tif", lambda: fax_tiff("group4"), size=(64, 64), corner=None),
    "tiff 16-bit grey": ok("tif", lambda: encode(GREY, "TIFF"), corner=(128, 128, 128)),
    "tiff cmyk": ok("tif", lambda: encode(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "TIFF")),
    # The first frame, the first page.
    "gif animated": ok("gif", frames("GIF")),
    "webp animated": ok("webp", frames("WEBP", lossless=True)),
    "apng": ok("png", frames("PNG")),
    "tiff pages": ok("tif", frames("TIFF")),
    # Orientation.
    **{
        f"{format.lower()} orientation {number}": ok(
            extension, oriented(format, number), SIZE if number < 5 else SIZE[::-1], corner
        )
        for format, extension in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"))
        for number, corner in enumerate((RED, GREEN, WHITE, BLUE, RED, BLUE, WHITE, GREEN), start=1)
    },
    "jpeg orientation 9": ok("jpg", oriented("JPEG", 9)),
    # Sizes.
    "one pixel": ok("png", lambda: png(Image.new("RGB", (1, 1), RED)), (1, 1)),
    "strip": ok("png", lambda: png(Image.new("RGB", (1, 5000), RED)), (1, 5000)),
    # Metadata that is broken or large does not matter.
    "jpeg broken exif": ok("jpg", lambda: with_app_segment(0xE1, b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + bytes(40))),
    "jpeg exif of no kind": ok("jpg", lambda: with_app_segment(0xE1, b"Exif\0\0garbage")),
    "jpeg large exif": ok("jpg", lambda: with_app_segment(0xE1, b"Exif\0\0" + bytes(65000))),
    "jpeg broken icc": ok("jpg", lambda: jpeg(icc_profile=b"no profile at all")),
    "jpeg large icc": ok("jpg", lambda: jpeg(icc_profile=bytes(3_000_000))),
    "png broken exif": ok("png", lambda: png(exif=b"Exif\0\0garbage")),
    "webp broken exif": ok("webp", lambda: encode(quadrants(), "WEBP", lossless=True, exif=b"Exif\0\0garbage")),
    "png broken icc": ok("png", lambda: png(icc_profile=b"no profile at all")),
    "png large text": ok("png", lambda: png_with(prompt="a photo " * 100_000)),
    "png text bomb": ok("png", lambda: png_with(prompt="0" * 50_000_000)),
    "png turned, with a text bomb": ok(
        "png",
        lambda: with_png_chunk(oriented("PNG", 3)(), b"zTXt", b"a\0\0" + packed_zeros(3)),
        corner=WHITE,
    ),
    "png turned by XMP, with a text bomb": ok(
        "png",
        lambda: with_png_chunk(
            with_png_chunk(png(), b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="3"/>'),
            b"zTXt",
            b"a\0\0" + packed_zeros(3),
        ),
        corner=WHITE,
    ),
    **{f"png {name}": ok("png", make) for name, make in BROKEN_BESIDE_PIXELS.items()},
    "png broken transparency": unreadable("png", lambda: with_png_chunk(png(), b"tRNS", b""), r"Truncated tRNS"),
    # Wrong names.
    "png named jpg": ok("jpg", png),
    "jpeg named png": ok("png", lambda: jpeg(quality=94)),
    "html": unreadable("jpg", lambda: b"<!doctype html><p>404 Not Found", r"cannot identify it as .*an HTML page"),
    "text": unreadable("png", lambda: b"no picture here\n", r"cannot identify it as .*; it is text"),
    "tar": unreadable("png", tar, r"cannot identify it as .*; it is an archive"),
    "ico": unreadable("ico", lambda: encode(quadrants(), "ICO"), r"cannot identify it as one of JPEG"),
    "psd": unreadable(
        "psd",
        lambda: b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(400),
        "Photoshop",
    ),
    "eps": unreadable("eps", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", "PostScript"),
    "pdf": unreadable("pdf", lambda: encode(quadrants(), "PDF"), "a PDF document"),
    "svg": unreadable("svg", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>', "XML or SVG"),
    "ppm": unreadable("ppm", lambda: encode(quadrants(), "PPM"), r"cannot identify it as one of"),
    # Damage.
    "empty": unreadable("jpg", lambda: b"", r"^empty file$"),
    "zeros": unreadable("jpg", lambda: bytes(4096), "cannot identify .*zeros alone"),
    **{
        f"{name} cut at {fraction}": unreadable(name, cut(make, fraction), r"truncated|cannot (identify|be decoded)")
        for name, make in WHOLE.items()
        for fraction in (0.01, 0.1, 0.5, 0.9, 0.99)
    },
    "jpeg without its end": unreadable("jpg", lambda: jpeg(noise())[:-2], r"JPEG cannot be decoded .*truncated"),
    "jpeg header alone": unreadable("jpg", lambda: b"\xff\xd8\xff\xe0", r"cannot identify|cannot be decoded"),
    "jpeg with garbage in the middle": ok("jpg", garbage_in_the_middle, (64, 64), None),
    "jpeg with garbage behind": ok("jpg", lambda: jpeg() + b"garbage" * 1000),
    "two jpegs": ok("jpg", lambda: jpeg() + jpeg(noise())),
    "png without its end": ok("png", lambda: png(noise())[:-12], (64, 64), None),
    "png with garbage behind": ok("png", lambda: png() + b"garbage" * 1000),
    "png broken header checksum": unreadable("png", lambda: damaged_png(b"IHDR", 5), r"cannot identify it as .*PNG"),
    "png broken data": unreadable("png", lambda: damaged_png(b"IDAT", 3000), r"PNG cannot be decoded"),
    "png without data": unreadable(
        "png", lambda: raw_png(*SIZE, b"", depth=8, color=2, num_rows=0), r"PNG cannot be decoded"
    ),
    "png of no pixels": unreadable("png", lambda: raw_png(0, 0, b"", depth=8, color=2), r"cannot identify it as .*PNG"),
    # What has no brightness.
    "tiff group 3, damaged": unreadable("tif", damaged_fax_tiff("group3"), r"TIFF is damaged \(Fax3Decode"),
    "tiff group 4, damaged": unreadable("tif", damaged_fax_tiff("group4"), r"TIFF is damaged \(Fax4Decode: .* line \d"),
    "tiff huffman, damaged": unreadable("tif", damaged_fax_tiff("tiff_ccitt"), r"TIFF is damaged \(Fax3DecodeRLE"),
    "tiff float": unreadable("tif", float_tiff(0.5), "floating-point samples"),
    "tiff nan": unreadable("tif", float_tiff(float("nan")), "floating-point samples"),
    "tiff 32-bit": unreadable(
        "tif", lambda: encode(Image.fromarray(np.full((8, 8), -1, np.int32)), "TIFF"), "32-bit samples from -1"
    ),
    # Bombs.
    "png bomb, header": too_large(
        "png", lambda: raw_png(40_000, 40_000, b"", depth=8, color=2, num_rows=0), "40000 x 40000 pixels"
    ),
    "png bomb, whole": too_large(
        "png", lambda: raw_png(40_000, 40_000, bytes(5_000), depth=1, color=0), "40000 x 40000 pixels"
    ),
    "png bomb, just above": too_large(
        "png", lambda: raw_png(10_001, 10_000, b"", depth=8, color=0, num_rows=0), "at most 100000000"
    ),
    "gif bomb": too_large("gif", lambda: gif_with_size(65_535, 65_535), "65535 x 65535 pixels"),
    "webp bomb": too_large("webp", lambda: webp_with_size(16_384), "16384 x 16384 pixels"),
}
