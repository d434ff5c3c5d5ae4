import numpy as np
import pytest

from train.scoring.readings import gradient_energy, mean_lare


def test_mean_lare_is_minus_the_mean() -> None:
    assert mean_lare(np.array([[[[1, 2], [3, 6]]], [[[0, 0], [0, 1]]]], np.float16)).tolist() == [-3.0, -0.25]


def test_gradient_energy_by_hand() -> None:
    # White beside black twice: two of four differences are 1.
    canvas = np.array([[0, 255], [0, 255]], np.uint8)[..., None].repeat(3, axis=2)
    assert gradient_energy(canvas) == pytest.approx(-0.5)
    # One pure green pixel: its two differences are 0.587.
    canvas = np.zeros((2, 2, 3), np.uint8)
    canvas[0, 0, 1] = 255
    assert gradient_energy(canvas) == pytest.approx(-(2 * 0.587**2) / 4)
