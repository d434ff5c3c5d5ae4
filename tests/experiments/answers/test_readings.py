from experiments.answers.readings import list_sources, make_curve, value_cells
from experiments.study.settings import summarize
from tests.experiments.made_up import make_scored, value


def test_a_curve_has_intervals_where_all_points_have_one() -> None:
    points = [value(0.5, 0.1), value(0.6, 0.2)]
    curve = make_curve("one", [1, 2], points)
    assert curve.y == (0.5, 0.6) and curve.low == (0.4, 0.39999999999999997) and curve.x == (1, 2)
    assert make_curve("one", [1, 2], [points[0], points[1] | {"interval": None}]).low is None


def test_cells_are_the_means_on_validation_and_test() -> None:
    readings = summarize({"x": make_scored({"a": 0.5}, {"a": 0.6, "b": 0.8})})
    assert [cell[:4] for cell in value_cells(readings, "x")] == ["0.50", "0.70"]
    assert list_sources(readings["test"]["x"]) == ["a", "b"]
