import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.answers.answer import Chart, Curve
from experiments.answers.charts import MANY, choose_styles, draw_chart, plot_chart

TIMESTEPS = (50.0, 200.0, 500.0)
LINE = Curve("mean LaRE", TIMESTEPS, (0.5, 0.7, 0.6), low=(0.4, 0.6, 0.5), high=(0.6, 0.8, 0.7))
CHART = Chart("Over t", "timestep", "AUROC", (LINE, replace(LINE, name="map only", low=None, high=None)))


def draw(chart: Chart) -> Axes:
    return plot_chart(Figure(), chart)


def test_a_line_a_curve_with_a_shade_where_there_are_intervals() -> None:
    axes = draw(CHART)
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[50, 0.5], [200, 0.7], [500, 0.6]]] * 2
    (shade,) = axes.collections
    assert shade.get_datalim(axes.transData).get_points().tolist() == [[50, 0.4], [500, 0.8]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("timestep", "AUROC")


def test_reference_is_a_line_behind_the_curves() -> None:
    reference, *curves = draw(replace(CHART, reference=0.5)).lines
    assert set(reference.get_ydata()) == {0.5} and len(curves) == 2


def test_points_have_bars_names_and_no_line() -> None:
    points = replace(LINE, labels=("a", "b", "c"))
    axes = draw(replace(CHART, curves=(points,), lines=False))
    assert axes.lines[0].get_linestyle() == "None"
    assert [segment.tolist() for segment in axes.collections[0].get_segments()] == [
        [[50, 0.4], [50, 0.6]],
        [[200, 0.6], [200, 0.8]],
        [[500, 0.5], [500, 0.7]],
    ]
    texts = [text for text in axes.texts if text.get_text()]
    points_px = axes.transData.transform(axes.lines[0].get_xydata())
    centres_px = np.array([text.get_window_extent().get_points().mean(axis=0) for text in texts])
    nearest = np.linalg.norm(centres_px[:, None] - points_px, axis=2).argmin(axis=1)
    assert [(text.get_text(), n) for text, n in zip(texts, nearest.tolist(), strict=True)] == [
        ("a", 0),
        ("b", 1),
        ("c", 2),
    ]


def test_labels_of_near_points_do_not_overlap_and_are_the_same_again() -> None:
    points = Curve("all", (200, 202, 204), (0.5, 0.5, 0.501), labels=("a long name", "another name", "a third name"))
    labels = [
        [text.get_window_extent() for text in draw(replace(CHART, curves=(points,), lines=False)).texts]
        for _ in range(2)
    ]
    boxes = [box for box in labels[0] if box.width]
    assert len(boxes) == 3 and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert [box.bounds for box in labels[0]] == [box.bounds for box in labels[1]]


def test_a_crowd_of_points_is_an_image() -> None:
    values = tuple(float(i) for i in range(MANY + 1))
    chart = Chart("Crowd", "x", "y", (Curve("all", values, values),), lines=False)
    few = replace(chart, curves=(Curve("few", values[:-1], values[:-1]),))
    halves = replace(few, curves=few.curves * 2)
    assert ["<image" in draw_chart(each) for each in (chart, halves, few)] == [True, True, False]
    assert len(draw_chart(chart)) < len(draw_chart(few))


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        (TIMESTEPS, ["50", "200", "500"]),
        ((0.7334584, 0.9422602, 5.812), ["0.733", "0.942", "5.81"]),
        ((200.0, 1000.0, 1500.0), ["200", "1000", "1500"]),
        ((1.0, 1.05, 9.0), ["1", "2", "5", "10"]),  # two are too near to each other
        ((0.001, 0.00101, 9.0), ["0.001", "0.01", "0.1", "1", "10"]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_plain_numbers(values: tuple[float, ...], ticks: list[str]) -> None:
    svg = draw_chart(replace(CHART, curves=(replace(LINE, x=values),), log_x=True))
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert texts[: texts.index("timestep")] == ticks


def test_curves_are_told_apart_by_more_than_colour_where_colours_come_again() -> None:
    styles = choose_styles(replace(CHART, curves=tuple(replace(LINE, name=str(i)) for i in range(20))))
    assert [style.name for style in styles] == [str(i) for i in range(20)]
    assert len({(style.color, style.line) for style in styles}) == 20
    assert len({(style.color, style.marker) for style in styles}) == 20
