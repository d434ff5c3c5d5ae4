import io

import numpy as np
import pytest
from PIL import Image

from experiments.verdicts.files import CODECS, FILES, REFERENCE, SCREEN_GREY, SCREENSHOT, make_files, take_screenshot

WIDTH, HEIGHT = 80, 60
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
SIZES = {
    "half size": (40, 30),
    "double size": (160, 120),
    "thumbnail, 25 %": (20, 15),
    SCREENSHOT: (100 + 2 * 6, 75 + 2 * 6),
}


def test_every_file_has_its_format_and_size() -> None:
    files = dict(make_files(Image.fromarray(PIXELS)))
    assert tuple(files) == FILES
    for name, data in files.items():
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == ({"J": "JPEG", "W": "WEBP"}[name[0]] if name in CODECS else "PNG")
            assert image.size == SIZES.get(name, (WIDTH, HEIGHT))
    assert len(files["JPEG 95"]) > len(files["JPEG 75"]) > len(files["JPEG 50"])


def test_the_reference_has_the_pixels_as_they_are() -> None:
    files = dict(make_files(Image.fromarray(PIXELS)))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(files[REFERENCE]))), PIXELS)


def test_a_screenshot_has_the_page_around_the_picture() -> None:
    shot = np.asarray(take_screenshot(Image.new("RGB", (WIDTH, HEIGHT), (10, 20, 30))))
    edge = np.ones(shot.shape[:2], bool)
    edge[6:-6, 6:-6] = False
    assert (shot[edge] == SCREEN_GREY).all() and (shot[~edge] == (10, 20, 30)).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 200)])
def test_tiny_pictures_have_files_too(size: tuple[int, int]) -> None:
    for _, data in make_files(Image.new("RGB", size)):
        with Image.open(io.BytesIO(data)) as image:
            assert min(image.size) >= 1
