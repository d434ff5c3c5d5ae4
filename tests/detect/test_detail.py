"""The regression of mean LaRE on local detail: its features by hand, its numbers recovered, hostile files refused."""

import json
from typing import Any

import numpy as np
import pytest

from detect.detail import FEATURES, MIN_PHOTOGRAPHS, ROUNDING_ENERGY, Detail, measure_detail

GOOD = Detail(0.5, (0.75, -0.25), 0.3, 0.9, 40, 30, "file")


def canvas_of(rows: list[list[int]]) -> np.ndarray:
    """A grey canvas."""
    return np.repeat(np.array(rows, dtype=np.uint8)[..., None], 3, axis=2)


def test_features_of_a_small_canvas_by_hand() -> None:
    canvas = canvas_of([[0, 255, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 51]])
    # One white pixel: differences of 1 to the left, to the right and below, the left and own ones in the first cell.
    # One grey pixel of 0.2: a difference on its left and one above, both in the last cell.
    cells = np.array([3 / 4, ROUNDING_ENERGY, ROUNDING_ENERGY, 2 * 0.2**2 / 4])
    found = measure_detail(canvas, (2, 2))
    assert found == pytest.approx([np.log((3 / 4 + 2 * 0.2**2 / 4) / 4), np.log(cells).mean()])


def test_a_flat_picture_has_the_detail_of_rounding() -> None:
    assert measure_detail(canvas_of([[9] * 8] * 8), (4, 4)) == pytest.approx([np.log(ROUNDING_ENERGY)] * 2)


def test_uneven_detail_has_the_lower_mean_of_logarithms() -> None:
    rng = np.random.default_rng(0)
    even = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    uneven = even.copy()
    uneven[:, :16] = 128
    for canvas, least, most in ((even, 0.0, 0.2), (uneven, 1.0, 10.0)):
        of_mean, of_cells = measure_detail(canvas, (4, 4))
        assert least <= of_mean - of_cells <= most


def made_up(num: int, seed: int = 0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(-5, 1.5, (num, len(FEATURES)))
    return features, np.exp(0.5 + features @ [0.75, -0.25] + rng.normal(0, noise, num))


def test_the_numbers_that_made_the_photographs_are_recovered() -> None:
    detail = Detail.fit(*made_up(4000), num_groups=7, group_by="folder")
    assert detail.intercept == pytest.approx(0.5, abs=0.1)
    assert detail.coefficients == pytest.approx((0.75, -0.25), abs=0.02)
    assert detail.scale == pytest.approx(0.3, abs=0.02)
    assert detail.explained == pytest.approx(1 - 0.3**2 / (0.3**2 + 1.5**2 * (0.75**2 + 0.25**2)), abs=0.02)
    assert (detail.num_photographs, detail.num_groups, detail.group_by) == (4000, 7, "folder")


def test_the_score_is_how_far_the_error_lies_below_the_prediction() -> None:
    features = np.array([[-5.0, -6.0], [-2.0, -3.0]])
    predicted = 0.5 + features @ [0.75, -0.25]
    assert GOOD.score(features, np.exp(predicted)) == pytest.approx([0, 0], abs=1e-12)
    assert GOOD.score(features, np.exp(predicted - [0.3, -0.6])) == pytest.approx([1, -2])
    assert np.isfinite(GOOD.score(features, np.zeros(2))).all()


def test_too_few_photographs_and_equal_ones_are_refused() -> None:
    with pytest.raises(ValueError, match=f"19 photographs are too few .*: {MIN_PHOTOGRAPHS} do"):
        Detail.fit(*made_up(MIN_PHOTOGRAPHS - 1), num_groups=19, group_by="file")
    with pytest.raises(ValueError, match="mean errors of the photographs do not differ"):
        Detail.fit(made_up(30)[0], np.full(30, 1.5), num_groups=30, group_by="file")
    with pytest.raises(ValueError, match="mean errors of the photographs do not differ"):
        Detail.fit(made_up(30)[0], np.zeros(30), num_groups=30, group_by="file")


def test_it_goes_through_a_file() -> None:
    assert Detail.from_dict(json.loads(json.dumps(GOOD.to_dict()))) == GOOD


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version is 2, this code reads 1"),
        ({"features": ["__import__"]}, "features is .*__import__.*, this code reads"),
        ({"features": [*FEATURES, "x" * 10**6]}, r"features is \['log_mean.{0,120}, this code reads"),
        ({"target": "mean"}, "target is mean"),
        ({"min_energy": 0.0}, "min_energy is 0.0"),
        ({"coefficients": [1.0]}, "expected 2 coefficients"),
        ({"coefficients": {"0": 1.0, "1": 2.0}}, "expected 2 coefficients"),
        ({"coefficients": [1.0, float("nan")]}, "nan is no number within"),
        ({"coefficients": [1.0, float("inf")]}, "inf is no number within"),
        ({"coefficients": [1.0, "2"]}, "2 is no number within"),
        ({"coefficients": [True, 2.0]}, "True is no number within"),
        ({"intercept": 10**400}, "is no number within"),
        ({"intercept": None}, "None is no number within"),
        ({"scale": 0.0}, "scale is 0.0: expected"),
        ({"scale": -1.0}, "scale is -1.0: expected"),
    ],
)
def test_a_strangers_regression_is_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"its regression on local detail cannot be read: .*{message}"):
        Detail.from_dict(GOOD.to_dict() | changes)


@pytest.mark.parametrize("content", [{}, [], "text", None, 3])
def test_what_is_no_regression_at_all_is_refused(content: Any) -> None:
    with pytest.raises(ValueError, match="its regression on local detail cannot be read"):
        Detail.from_dict(content)
