"""Files of every format, from their bytes to a picture with its facts, or a rejection with its reason."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache_schema import ImageRejected, Status, decode_image
from detect.reading.decoding import open_picture
from extract.packing.inspecting import inspect_bytes
from tests.bad_images import CASES, SIZE, Case, jpeg, png, png_chunk, quadrants
from tests.cache_schema.test_bad_images import COLOR_TOLERANCE
from tests.detect.reading.files import (
    avif,
    heic,
    jxl,
    noise,
    oriented_exif,
    png_with_chunk,
    turned_jxl,
    with_other_size,
    zeros,
)

NEW = {"AVIF": avif, "HEIF": heic, "JXL": jxl}
CORNERS = [
    (255, 0, 0),
    (0, 255, 0),
    (255, 255, 255),
    (0, 0, 255),
    (255, 0, 0),
    (0, 0, 255),
    (255, 255, 255),
    (0, 255, 0),
]
"""The top left pixel of the quadrants by orientation, 1 to 8."""


def is_near(image: Image.Image, color: tuple[int, ...]) -> bool:
    return bool(np.abs(np.subtract(image.getpixel((0, 0)), color)).max() <= COLOR_TOLERANCE)


def rejection(data: bytes) -> ImageRejected:
    with pytest.raises(ImageRejected) as caught:
        open_picture(data)
    return caught.value


@pytest.mark.parametrize("name", CASES)
def test_stage_1s_formats_give_stage_1s_pixels_facts_and_reasons(name: str) -> None:
    case: Case = CASES[name]
    if case.status is not None:
        error = rejection(case.data())
        assert error.status is case.status and re.search(case.reason, error.reason)
        return
    opened, facts = open_picture(case.data()), inspect_bytes(case.data())
    assert opened.image.mode == "RGB"
    assert np.array_equal(np.asarray(opened.image), np.asarray(decode_image(case.data())))
    assert (opened.width, opened.height, opened.format) == (facts.width, facts.height, facts.format)
    assert opened.jpeg_quality == facts.jpeg_quality
    assert (opened.jpeg_quality is not None) == (facts.format == "JPEG")


@pytest.mark.parametrize("format", NEW)
def test_new_formats_are_read_in_colour_grey_and_with_alpha_over_white(format: str) -> None:
    make = NEW[format]
    opened = open_picture(make())
    assert (opened.image.mode, opened.image.size, opened.width, opened.height) == ("RGB", SIZE, *SIZE)
    assert (opened.format, opened.jpeg_quality, opened.notes) == (format, None, ())
    assert is_near(opened.image, (255, 0, 0))
    assert np.abs(np.asarray(opened.image).astype(int) - np.asarray(quadrants())).mean() < COLOR_TOLERANCE
    assert is_near(open_picture(make(Image.new("L", SIZE, 128))).image, (128, 128, 128))
    assert is_near(open_picture(make(Image.new("RGBA", SIZE, (255, 0, 0, 0)))).image, (255, 255, 255))
    assert is_near(open_picture(make(Image.new("RGBA", SIZE, (0, 0, 0, 51)))).image, (204, 204, 204))


def test_more_than_eight_bits_become_eight() -> None:
    grey = Image.fromarray(np.full((32, 48), 0x8040, np.uint16))
    for data in (heic(grey), jxl(grey)):
        opened = open_picture(data)
        assert opened.image.mode == "RGB" and is_near(opened.image, (128, 128, 128))


def test_floating_point_jpeg_xl_has_no_brightness() -> None:
    assert rejection(jxl(Image.fromarray(np.full((32, 48), 0.5, np.float32)))).reason.startswith("floating-point")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_put_upright_once(orientation: int) -> None:
    size = SIZE if orientation < 5 else SIZE[::-1]
    files = {
        "HEIF": heic(exif=oriented_exif(orientation)),  # the library writes it as the file's own turning too
        "AVIF": avif(exif=oriented_exif(orientation)),
        "JXL": turned_jxl(orientation),
    }
    for format, data in files.items():
        opened = open_picture(data)
        assert opened.format == format and opened.image.size == size, format
        assert is_near(opened.image, CORNERS[orientation - 1]), format


def test_exif_in_jpeg_xl_turns_nothing_for_the_codestream_has_its_own_orientation() -> None:
    assert is_near(open_picture(jxl(exif=oriented_exif(6))).image, CORNERS[0])


def test_one_frame_of_several_is_used_and_a_note_says_so() -> None:
    rest = {"save_all": True, "append_images": [noise(SIZE)] * 2}
    three = "The picture has 3 frames, of which the first is used."
    for data in (CASES["webp animated"].data(), CASES["apng"].data(), avif(**rest)):
        opened = open_picture(data)
        assert is_near(opened.image, CORNERS[0])
        assert [(note.code, note.text) for note in opened.notes] == [("animated", three)]
    for name, code in {"gif animated": "animated", "tiff pages": "several_pages"}.items():
        assert [note.code for note in open_picture(CASES[name].data()).notes] == [code]


def test_the_main_picture_of_a_heic_file_is_used() -> None:
    opened = open_picture(heic(noise(SIZE), quadrants(), primary_index=1))
    assert is_near(opened.image, CORNERS[0])
    assert [note.code for note in opened.notes] == ["several_pictures"] and "2 pictures" in opened.notes[0].text


def test_a_note_on_frames_is_no_reason_to_fail() -> None:
    data = CASES["gif animated"].data()
    assert open_picture(data[: data.rindex(b"\x2c\0\0\0\0") + 12]).image.size == SIZE


@pytest.mark.parametrize("name", [*NEW, "JXL in a container"])
def test_cut_files_are_rejected(name: str) -> None:
    make: Callable[..., bytes] = NEW[name.split()[0]]
    data = make(noise(), **({"use_container": True} if " " in name else {}))
    ends = sorted({*range(1, 64), *np.linspace(64, len(data) - 1, 60, dtype=int).tolist()})
    outcomes = []
    for end in ends:
        try:
            outcomes.append(open_picture(data[:end]).image.size == (64, 64))
        except ImageRejected as error:
            outcomes.append(False)
            assert error.status is Status.UNREADABLE and 0 < len(error.reason) < 300 and "\n" not in error.reason
    assert sum(outcomes) <= 1  # a last byte can be one that no pixel needs


@pytest.mark.timeout(120)
@pytest.mark.parametrize("format", NEW)
def test_damage_gives_a_picture_or_a_rejection_and_nothing_else(format: str) -> None:
    rng, whole, outcomes = np.random.default_rng(0), NEW[format](noise()), []
    for _ in range(150):
        data = bytearray(whole)
        span = len(data) if rng.random() < 0.5 else min(len(data), 300)
        for at in rng.integers(span, size=rng.integers(1, 6)):
            data[at] ^= rng.integers(1, 256)
        try:
            assert open_picture(bytes(data)).image.mode == "RGB"
            outcomes.append("picture")
        except ImageRejected as error:
            assert 0 < len(error.reason) < 500
            outcomes.append("rejection")
    assert outcomes.count("rejection") > 20


@pytest.mark.parametrize("data", [bytes(12) + b"x" * 500, b"\0\0\0\x20ftypheic" + b"x" * 500])
def test_garbage_is_rejected(data: bytes) -> None:
    assert rejection(data).status is Status.UNREADABLE
    assert rejection(b"\0\0\0\x20ftypavif" + data).status is Status.UNREADABLE
    assert rejection(b"\xff\x0a" + data).status is Status.UNREADABLE


def test_sizes_above_the_bound_are_rejected_by_the_header() -> None:
    for make in (heic, avif):
        error = rejection(with_other_size(make(noise()), (64, 64), (40_000, 40_000)))
        assert error.status in (Status.TOO_LARGE, Status.UNREADABLE)  # libraries have bounds of their own
        error = rejection(with_other_size(make(noise()), (64, 64), (10_001, 10_000)))
        assert (error.status, error.reason) == (Status.TOO_LARGE, "10001 x 10000 pixels, at most 100000000")


def peak_growth_mb(files: list[Path]) -> float:
    """Open files in a process of its own; by how much its peak memory grew."""
    code = (
        "import pathlib, resource, sys\n"
        "from cache_schema import ImageRejected\n"
        "from detect.reading.decoding import open_picture\n"
        "import pillow_heif, pillow_jxl\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "files = [pathlib.Path(name).read_bytes() for name in sys.argv[1:]]\n"
        "before = peak()\n"
        "for data in files:\n"
        "    try:\n"
        "        open_picture(data)\n"
        "    except ImageRejected:\n"
        "        pass\n"
        "sys.stdout.write(str(peak() - before))\n"
    )
    command = [sys.executable, "-c", code, *map(str, files)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    bomb = zeros(300)
    large = Image.new("L", (10_240, 10_240), 9)
    xmp = heic(xmp=b"A" * len(bomb)).replace(b"A" * len(bomb), bomb)
    bombs = {
        "claimed.heic": with_other_size(heic(noise()), (64, 64), (30_000, 30_000)),
        "hidden.heic": with_other_size(heic(Image.new("RGB", (6000, 4000))), (6000, 4000), (64, 64)),
        "large.heic": heic(large, tile_size=1024),
        "xmp.heic": xmp.replace(b"application/rdf+xml\0", b"application\0deflate\0"),
        "claimed.avif": with_other_size(avif(noise()), (64, 64), (16_000, 16_000)),
        "large.avif": avif(large),
        "large.jxl": jxl(large, effort=1),
        "exif.jxl": jxl(exif=b"MM\0*" + bytes(200_000_000), compress_metadata=True),
        "text.png": png_with_chunk(png(), b"zTXt", b"parameters\0\0" + bomb),
        "profile.png": png_with_chunk(png(), b"iCCP", b"icc\0\0" + bomb),
    }
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    assert peak_growth_mb([tmp_path / name for name in bombs]) < 60


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP", b"tEXt"])
def test_no_text_or_profile_of_a_png_keeps_its_pixels_from_being_read(name: bytes) -> None:
    contents = {
        b"zTXt": b"parameters\0\0" + zeros(3),
        b"iTXt": b"parameters\0\1\0\0\0" + zeros(3),
        b"iCCP": b"icc\0\0" + zeros(3),
        b"tEXt": b"parameters\0" + b"x" * 1_000_000,
    }
    for data in (png_with_chunk(png(), name, contents[name]), png()[:-12] + 70 * png_chunk(name, contents[name])):
        opened = open_picture(data + png_chunk(b"IEND", b""))
        assert np.array_equal(np.asarray(opened.image), np.asarray(quadrants())) and opened.format == "PNG"


def test_broken_exif_keeps_no_pixels_from_being_read() -> None:
    exif = Image.Exif()
    exif[0x0131] = "a program"
    data = avif(exif=exif.tobytes())
    assert b"MM\0*" in data
    assert is_near(open_picture(data.replace(b"MM\0*", b"XX\0*")).image, CORNERS[0])
    for broken in (b"Exif\0\0garbage", b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + bytes(40)):
        assert is_near(open_picture(heic(exif=broken)).image, CORNERS[0])


@pytest.mark.parametrize("module", ["pillow_heif", "pillow_jxl.JpegXLImagePlugin"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"pillow_heif": heic(), "pillow_jxl.JpegXLImagePlugin": jxl()}[module]
    monkeypatch.setitem(sys.modules, module, None)
    error = rejection(data)
    assert error.status is Status.UNREADABLE and "pip install 'lare2-cache[formats]'" in error.reason


def test_a_pillow_without_avif_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = avif()
    monkeypatch.setattr("cache_schema.images.pillow_reads_avif", lambda: False)
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    assert "pip install 'pillow>=11.3'" in rejection(data).reason


def test_stage_1_takes_its_seven_formats_only_even_with_the_plugins_registered() -> None:
    for format, make in NEW.items():
        assert Image.open(io.BytesIO(make())).format == format  # registered in this process
        if format == "AVIF":
            assert decode_image(make()).size == SIZE
            continue
        with pytest.raises(ImageRejected, match=r"cannot identify it as one of JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF;"):
            decode_image(make())
    assert inspect_bytes(jpeg(quality=77)).jpeg_quality == 77
