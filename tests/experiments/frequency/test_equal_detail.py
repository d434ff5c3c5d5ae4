from dataclasses import replace

import numpy as np
import pytest

from experiments.frequency.equal_detail import Line, fit_line, match_nearest, match_sources, subtract_line
from tests.experiments.made_up import make_mean_lare
from train.scoring.calibration import Calibration
from train.scoring.scores import Reading


def make_readings(rows: list[tuple[int, float, float]]) -> dict[str, Reading]:
    """Rows of (label, gradient energy, mean LaRE), each image a group of its own."""
    labels, energies, lare = zip(*rows, strict=True)
    names = [(f"{i}", label, "fake" if label else "real", f"g{i}", None) for i, label in enumerate(labels)]
    columns = {"gradient_energy": energies, "mean_lare": lare}
    return {
        name: replace(
            make_mean_lare([(*row, value) for row, value in zip(names, values, strict=True)]),
            calibrations=(Calibration(0.0),),
        )
        for name, values in columns.items()
    }


def test_each_takes_the_nearest_that_is_left() -> None:
    def match(ours: list[float], theirs: list[float]) -> list[list[int]]:
        return sorted(match_nearest(np.array(ours), np.array(theirs), 0.2).tolist())

    assert match([0.0, 1.0, 5.0], [0.9, 0.1, 9.0]) == [[0, 1], [1, 0]]
    assert match([1.0], [0.85, 1.1, 1.3]) == [[0, 1]]
    assert len(match([1.0, 1.0], [1.0])) == 1
    assert match([1.0], []) == match([], [1.0]) == []
    assert match([1.0], [1.3]) == []


def test_pairs_are_near_unique_and_on_neither_side() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.uniform(0, 1, 400), rng.uniform(0, 1, 900)
    pairs = match_nearest(ours, theirs, 0.01)
    differences = ours[pairs[:, 0]] - theirs[pairs[:, 1]]
    assert len(pairs) > 350 and abs(differences).max() <= 0.01 and abs(differences.mean()) < 0.001
    assert all(len(set(side)) == len(side) for side in pairs.T.tolist())


def test_line_is_least_squares() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0])
    exact = Line.fit(x, 2 * x + 1)
    assert (exact.slope, exact.intercept, exact.explained) == pytest.approx((2, 1, 1))
    noisy = Line.fit(x, 2 * x + 1 + np.array([1, -1, -1, 1]))
    assert (noisy.slope, noisy.intercept) == pytest.approx((2, 1)) and noisy.explained == pytest.approx(5 / 6)
    assert noisy.residuals(x, 2 * x + 1) == pytest.approx(np.zeros(4))


def smooth_fakes(factor: float) -> dict[str, Reading]:
    """Error = sqrt(energy), of fakes times a factor; fakes are smoother, with reals as smooth among the others."""
    rng = np.random.default_rng(0)
    real, fake = np.exp(rng.uniform(0, 4, 100)), np.exp(rng.uniform(0, 2, 40))
    rows = [(0, e, e**0.5) for e in real] + [(1, e, factor * e**0.5) for e in fake]
    return make_readings(rows)


@pytest.mark.parametrize(
    ("factor", "share", "residual"), [(1.0, (0.3, 0.7), None), (0.9, (1, 1), 1.0), (1.1, (0, 0), 0.0)]
)
def test_matching_and_line_leave_what_smoothness_does_not_explain(
    factor: float, share: tuple[float, float], residual: float | None
) -> None:
    readings = smooth_fakes(factor)
    line = fit_line(readings)
    assert line.slope == pytest.approx(0.5) and line.explained == pytest.approx(1)
    readings["residual"] = subtract_line(readings, readings, line)
    found = match_sources(readings, np.full(140, None, dtype=object))["fake"]
    assert found.num_generated == 40 and 30 <= found.n <= 40 and not found.by_class
    assert 0.4 < found.auroc["gradient_energy"].mean < 0.6
    assert share[0] <= found.lower <= share[1] and found.interval[0] <= found.lower <= found.interval[1]
    if residual is not None:
        assert found.auroc["residual"].mean == residual


def test_pairs_are_of_one_class_where_classes_are_shared() -> None:
    readings = make_readings([(0, 1.0, 2.0), (0, 1.05, 4.0), (1, 1.04, 3.0), (1, 1.0, 1.0)])
    by_class = match_sources(readings, np.array(["a", "b", "a", "c"], dtype=object))["fake"]
    assert by_class.by_class and by_class.n == 1 and by_class.lower == 0  # 3 against 2, not against the nearer 4
    of_none = match_sources(readings, np.array(["a", None, "a", None], dtype=object))["fake"]
    assert of_none.n == 2 and of_none.lower == 0.5
    unknown = match_sources(readings, np.array([None, None, "a", "c"], dtype=object))["fake"]
    assert not unknown.by_class and unknown.n == 2


def test_without_partners_nothing_is_said() -> None:
    found = match_sources(make_readings([(0, 1.0, 2.0), (1, 9.0, 3.0)]), np.full(2, None, dtype=object))["fake"]
    assert found.n == 0 and found.auroc == {} and found.lower is None and found.interval is None


def test_flat_images_have_a_logarithm() -> None:
    readings = make_readings([(0, 0.0, 1.0), (0, 1.0, 2.0), (1, 0.0, 1.0)])
    assert np.isfinite(subtract_line(readings, readings, fit_line(readings)).scores).all()
