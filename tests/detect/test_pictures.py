"""Maps as colours, and figures of picture and map."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from detect.pictures import COLORMAP, MARGIN_PX, MAX_SIDE_PX, heat_image, map_figure, percent, top_of
from tests.detect.verdicts import make_verdict


def test_heat_image_shows_the_mean_over_channels() -> None:
    lare = np.zeros((2, 1, 3), np.float32)
    lare[:, 0] = [[0.0, 1.0, 4.0], [0.0, 3.0, 8.0]]  # means 0, 2, 6
    found = heat_image(lare, top=4.0)
    assert (found.mode, found.size) == ("RGB", (3, 1))
    expected = matplotlib.colormaps[COLORMAP]([0.0, 0.5, 1.0], bytes=True)[:, :3]
    assert np.array_equal(np.asarray(found)[0], expected)
    assert np.array_equal(np.asarray(found), np.asarray(heat_image(lare.mean(axis=0), top=4.0)))


def test_heat_image_of_a_flat_map_is_a_picture() -> None:
    assert np.asarray(heat_image(np.zeros((4, 2, 2), np.float32))).shape == (2, 2, 3)
    assert top_of(np.zeros((4, 2, 2), np.float32)) > 0


def test_single_cells_do_not_darken_all_others() -> None:
    lare = np.ones((1, 40, 40), np.float32)
    lare[0, 0, 0] = 1000.0
    assert top_of(lare) == 1.0


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        ((8,), 1.0, r"shape \(8,\)"),
        ((1, 1, 4, 4), 1.0, "expected"),
        ((0, 4, 4), 1.0, "shape"),
        ((4, 4), np.nan, "finite"),
    ],
)
def test_what_is_no_map_is_refused(shape: tuple[int, ...], value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        heat_image(np.full(shape, value, np.float32))


@pytest.mark.parametrize("size", [(1200, 300), (24, 32), (5, 2000), (512, 512), (1, 1)])
def test_figure_has_picture_and_map_side_by_side_in_its_proportions(size: tuple[int, int]) -> None:
    figure = np.asarray(map_figure(Image.new("RGB", size, "#00ff00"), make_verdict()))
    height, width = _extent(figure)
    assert max(width, height) <= MAX_SIDE_PX
    assert abs(width - max(1, size[0] * height / size[1])) <= 1 or min(width, height) == 1
    assert figure.shape[1] >= 2 * width + 3 * MARGIN_PX


def _extent(figure: np.ndarray) -> tuple[int, int]:
    places = np.argwhere((figure == (0, 255, 0)).all(axis=2))
    height, width = places.max(axis=0) - places.min(axis=0) + 1
    return int(height), int(width)


def test_attention_is_a_third_panel() -> None:
    image = Image.new("RGB", (64, 64))
    attention = np.random.default_rng(0).random((14, 14)).astype(np.float32)
    with_it, without = (map_figure(image, make_verdict(attention=a)) for a in (attention, None))
    assert with_it.width > 1.4 * without.width


def test_figures_say_the_verdict() -> None:
    image = Image.new("RGB", (64, 64))
    lines = {
        np.asarray(map_figure(image, make_verdict(verdict=verdict, probability=probability)))[-30:].tobytes()
        for verdict, probability in [("real", 0.1), ("unsure", 0.1), ("generated", 0.1), ("real", None)]
    }
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        *[(0.0, "0.0 %"), (1e-5, "< 0.1 %"), (0.004, "0.4 %"), (0.5, "50 %"), (0.984, "98 %"), (0.996, "99.6 %")],
        *[(0.99999, "> 99.9 %"), (1.0, "100.0 %")],
    ],
)
def test_percent_is_never_sure_by_rounding(probability: float, expected: str) -> None:
    assert percent(probability) == expected


def test_importing_the_pictures_loads_no_matplotlib() -> None:
    program = "import sys, detect.pictures; assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
