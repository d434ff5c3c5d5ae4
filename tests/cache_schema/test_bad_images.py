"""Bad and odd images, from their bytes to a picture or a rejection with its reason."""

import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from cache_schema import ImageRejected, Status, decode_image
from tests.bad_images import CASES, WHOLE, Case, jpeg, noise, png, png_chunk, raw_png

COLOR_TOLERANCE = 8
"""Levels that JPEG may move a flat colour by."""


def check_outcome(case: Case) -> None:
    """Decode a file and compare what becomes of it with what must."""
    if case.status is None:
        image = decode_image(case.data())
        assert (image.mode, image.size) == ("RGB", case.size)
        if case.corner is not None:
            assert np.abs(np.subtract(image.getpixel((0, 0)), case.corner)).max() <= COLOR_TOLERANCE
        return
    with pytest.raises(ImageRejected, match=case.reason) as caught:
        decode_image(case.data())
    assert caught.value.status is case.status


@pytest.mark.parametrize("name", CASES)
def test_each_file_becomes_a_picture_or_a_rejection_with_its_reason(name: str) -> None:
    check_outcome(CASES[name])


def test_many_large_texts_keep_no_pixels_from_being_read() -> None:
    data = png()[:-12] + 70 * png_chunk(b"tEXt", b"a\0" + b"x" * 1_000_000) + png_chunk(b"IEND", b"")
    assert np.array_equal(np.asarray(decode_image(data)), np.asarray(decode_image(png())))


def test_decoding_starts_no_program_and_opens_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"a file made Pillow call {arguments}")

    data = [case.data() for case in CASES.values()]
    for name in ("subprocess.Popen", "subprocess.call", "os.system", "os.popen", "builtins.open"):
        monkeypatch.setattr(name, refuse)
    for content in data:
        try:
            decode_image(content)
        except ImageRejected as error:
            assert "a file made Pillow call" not in error.reason


@pytest.fixture
def pillow_set_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other libraries of the process set: missing pixels filled with grey, and hardly any pixels allowed."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)


@pytest.mark.usefixtures("pillow_set_by_others")
def test_decoding_does_not_depend_on_pillow_s_settings_in_the_process() -> None:
    for case in CASES.values():
        check_outcome(case)
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 10)


@pytest.mark.usefixtures("pillow_set_by_others")
def test_threads_decode_at_the_same_time_by_our_settings_and_leave_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    barrier, load, filters = threading.Barrier(3, timeout=60), ImageFile.ImageFile.load, list(warnings.filters)
    seen = []

    def load_together(image: ImageFile.ImageFile) -> object:
        barrier.wait()  # passes only where three threads are inside
        seen.append((ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS))
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", load_together)
    with ThreadPoolExecutor(3) as pool:
        data = [jpeg(), jpeg(noise())[:-2], jpeg()]
        outcomes = [future.exception() for future in [pool.submit(decode_image, item) for item in data]]
    assert [type(error) for error in outcomes] == [type(None), ImageRejected, type(None)]
    assert seen == 3 * [(False, None)]
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 10) and warnings.filters == filters


def test_too_little_memory_is_no_property_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(MemoryError):
        decode_image(jpeg())


def damaged_variants(num_variants: int) -> Iterator[bytes]:
    """Seeded: a few bytes of a whole file changed, often in its header; some cut short as well."""
    rng = np.random.default_rng(0)
    seeds = [make() for make in WHOLE.values()] + [
        case.data() for case in CASES.values() if case.status is None and len(case.data()) < 100_000
    ]
    for _ in range(num_variants):
        data = bytearray(seeds[rng.integers(len(seeds))])
        span = len(data) if rng.random() < 0.5 else min(len(data), 200)
        for at in rng.integers(span, size=rng.integers(1, 9)):
            data[at] ^= rng.integers(1, 256)
        yield bytes(data[: rng.integers(len(data))] if rng.random() < 0.2 else data)


@pytest.mark.timeout(60)
def test_damage_gives_a_picture_or_a_rejection_and_nothing_else() -> None:
    outcomes = []
    for data in damaged_variants(1500):
        try:
            image = decode_image(data)
            assert image.mode == "RGB"
            outcomes.append("picture")
        except ImageRejected as error:
            assert error.status in (Status.UNREADABLE, Status.TOO_LARGE) and 0 < len(error.reason) < 500
            outcomes.append("rejection")
    assert outcomes.count("picture") > 100 and outcomes.count("rejection") > 500


def peak_growth_mb(folder: Path) -> float:
    """Decode all files of a folder in a process of its own; by how much its peak memory grew."""
    code = (
        "import pathlib, resource, sys\n"
        "from cache_schema import ImageRejected, decode_image\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "files = [p.read_bytes() for p in pathlib.Path(sys.argv[1]).iterdir()]\n"
        "before = peak()\n"
        "for data in files:\n"
        "    try:\n"
        "        decode_image(data)\n"
        "    except ImageRejected:\n"
        "        pass\n"
        "sys.stdout.write(str(peak() - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    for i, case in enumerate(CASES.values()):
        (tmp_path / str(i)).write_bytes(case.data())
    assert peak_growth_mb(tmp_path) < 100


@pytest.mark.slow
@pytest.mark.parametrize(("bytes_of_pixel", "color", "depth"), [(3, 2, 8), (4, 6, 8), (2, 0, 16)])
def test_the_largest_image_takes_bounded_memory(bytes_of_pixel: int, color: int, depth: int, tmp_path: Path) -> None:
    data = raw_png(10_000, 10_000, bytes(bytes_of_pixel * 10_000), depth=depth, color=color)
    (tmp_path / "largest.png").write_bytes(data)
    assert peak_growth_mb(tmp_path) < 1800
