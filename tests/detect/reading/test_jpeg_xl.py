"""The header and the boxes of JPEG XL files, read before anything is decoded."""

import struct

import pytest
from PIL import Image

from cache_schema import ImageRejected, Status
from detect.reading.decoding import open_picture
from detect.reading.jpeg_xl import Header, find_codestream, read_header
from tests.detect.reading.files import ORDINARY, jxl, jxl_bits, jxl_size, turned_jxl


@pytest.mark.parametrize(
    "size", [(48, 32), (1, 1), (513, 77), (8200, 9), (640, 480), (1920, 1080), (256, 256), (100, 50)]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_sizes_and_channels_of_real_files(size: tuple[int, int], mode: str) -> None:
    data = jxl(Image.new(mode, size), effort=1)
    assert read_header(find_codestream(data)) == Header(*size, False, int(mode == "RGBA"))


def test_a_container_has_the_codestream_whole_or_in_parts() -> None:
    bare, packed = jxl(), jxl(exif=b"MM\0*\0\0\0\x08\0\0\0\0\0\0", use_container=True)
    assert find_codestream(bare) == bare
    assert packed != bare and find_codestream(packed) == bare
    head = packed[:32]

    def box(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", len(content) + 8, name) + content

    long = struct.pack(">I4sQ", 1, b"jxlc", len(bare) + 16) + bare
    parts = box(b"jxlp", bytes(4) + bare[:20]) + box(b"xml ", b"<x/>") + box(b"jxlp", b"\x80\0\0\1" + bare[20:])
    to_the_end = struct.pack(">I4s", 0, b"jxlc") + bare
    for boxes in (box(b"jxlc", bare), long, parts, to_the_end):
        assert find_codestream(head + boxes) == bare
        assert open_picture(head + boxes).image.getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(ValueError, match="no JPEG XL codestream in its container"):
        find_codestream(head + box(b"xml ", b"<x/>"))


def test_headers_with_every_field() -> None:
    assert read_header(turned_jxl(6)) == Header(48, 32, False, 0)
    preview, animation = ((1, 1), (0, 2), (1, 3)), ((0, 2), (0, 2), (0, 2), (0, 1))
    extra = ((1, 1), (0, 3), (1, 1), *jxl_size(9, 9), (1, 1), *preview, (1, 1), *animation)
    floating = ((1, 1), (0, 2), (4, 4), (1, 1), (3, 2), (2999, 12))
    assert read_header(jxl_bits(*jxl_size(70_000, 3), (0, 1), *extra, *floating)) == Header(70_000, 3, True, 3000)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((*jxl_size(2**30, 2**30), (1, 1)), f"{2**30} x {2**30} pixels, at most 100000000"),
        ((*jxl_size(10_001, 10_000), (1, 1)), "10001 x 10000 pixels, at most 100000000"),
        ((*jxl_size(1000, 1000), (0, 2), (0, 3), (1, 1), (3, 2), (3999, 12)), "with 4000 extra channels"),
    ],
)
def test_bombs_are_rejected_by_their_header(fields: tuple[tuple[int, int], ...], reason: str) -> None:
    with pytest.raises(ImageRejected, match=reason) as caught:
        open_picture(jxl_bits(*fields, *ORDINARY) + bytes(100))
    assert caught.value.status is Status.TOO_LARGE


def test_a_header_cut_short_is_an_error() -> None:
    for end in range(2, 11):
        with pytest.raises(ValueError, match="cut short"):
            read_header(jxl_bits(*jxl_size(100, 100))[:end])
    with pytest.raises(ValueError, match="no JPEG XL codestream"):
        read_header(b"\x89PNG")


def test_an_animation_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    # No library here writes one: a still's pixels, with another header in front of the checks.
    monkeypatch.setattr("detect.reading.jpeg_xl.read_header", lambda _: Header(48, 32, True, 0))
    notes = open_picture(jxl()).notes
    assert [note.code for note in notes] == ["animated"] and "one of its frames" in notes[0].text
