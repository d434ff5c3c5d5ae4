"""An answer's charts as SVG, in the look of the demo's page."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from adjustText import adjust_text  # type: ignore[import-untyped]
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from experiments.answers.answer import Chart, Curve
from train.pictures.charts import GREY, PALETTE
from workflow.figures import draw_svg

WIDTH, HEIGHT = 5.2, 3.3
MANY = 300
"""Points of a chart above which they are small and drawn as an image: as shapes they would fill the page."""
MAX_TICKS = 10
MIN_GAP = 0.07
"""Between ticks, of the axis: what three digits need."""
MAX_STEPS = 500
"""In which labels are moved apart. A limit in seconds would not give the same chart again."""
LINES = ("-", "--", ":")
GLYPHS = {"o": "●", "s": "■", "^": "▲"}
"""Mark of a curve's points → what it looks like in a text."""


@dataclass(frozen=True)
class CurveStyle:
    """What tells a curve from the others."""

    name: str
    color: str
    line: str
    marker: str


def choose_styles(chart: Chart) -> list[CurveStyle]:
    """A colour for each curve; where colours come again, the line and the marks are others."""
    looks = itertools.product(zip(LINES, GLYPHS, strict=True), PALETTE)
    return [
        CurveStyle(curve.name, color, line, marker)
        for curve, ((line, marker), color) in zip(chart.curves, itertools.cycle(looks))
    ]


def draw_chart(chart: Chart) -> str:
    """An `<svg>` element without a legend."""
    return draw_svg(chart.title, WIDTH, HEIGHT, partial(plot_chart, chart=chart))


def plot_chart(figure: Figure, chart: Chart) -> Axes:
    """Fill a figure; gives its axes. Intervals are shades of lines, and bars of single points."""
    axes: Axes = figure.subplots()
    if chart.reference is not None:
        axes.axhline(chart.reference, color=GREY, linewidth=1, linestyle="--")
    shade = 0.15 if len(chart.curves) < 4 else 0.07
    is_crowd = sum(len(curve.x) for curve in chart.curves) > MANY
    for curve, style in zip(chart.curves, choose_styles(chart), strict=True):
        if chart.lines:
            _plot_line(axes, curve, style, shade)
        else:
            _plot_points(axes, curve, style, is_crowd)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    if chart.log_x:
        axes.set_xscale("log")
        _mark_values(axes, {x for curve in chart.curves for x in curve.x})
    _write_labels(axes, chart.curves)
    return axes


def _plot_line(axes: Axes, curve: Curve, style: CurveStyle, shade: float) -> None:
    axes.plot(
        curve.x, curve.y, color=style.color, linestyle=style.line, marker=style.marker, markersize=3.5, linewidth=1.6
    )
    if curve.low is not None and curve.high is not None:
        axes.fill_between(curve.x, curve.low, curve.high, color=style.color, alpha=shade, linewidth=0)


def _plot_points(axes: Axes, curve: Curve, style: CurveStyle, is_crowd: bool) -> None:
    looks: dict[str, Any] = {"markersize": 3, "alpha": 0.6} if is_crowd else {"markersize": 5}
    marks: dict[str, Any] = {"color": style.color, "marker": style.marker, "linestyle": "", "markeredgewidth": 0}
    axes.plot(curve.x, curve.y, rasterized=is_crowd, **marks, **looks)
    if curve.low is not None and curve.high is not None:
        axes.vlines(curve.x, curve.low, curve.high, color=style.color, linewidth=1, alpha=0.6)


def _write_labels(axes: Axes, curves: Sequence[Curve]) -> None:
    """Beside their points, moved away from one another; needs the final scale of the axes."""
    texts = [
        axes.text(x, y, label, fontsize=8)
        for curve in curves
        for label, x, y in zip(curve.labels or (), curve.x, curve.y, strict=False)
    ]
    if texts:
        axes.margins(0.1)  # for those of the outermost points
        points = [[value for curve in curves for value in getattr(curve, name)] for name in ("x", "y")]
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6}
        adjust_text(texts, *points, ax=axes, iter_lim=MAX_STEPS, arrowprops=line)


def _mark_values(axes: Axes, values: set[float]) -> None:
    """The values as ticks if they are few and apart, else 1, 2, 5 of few powers of ten, or 1 of many. Three digits."""
    steps = sorted(values)
    gaps = np.diff(np.log(steps)) / np.log(steps[-1] / steps[0]) if len(steps) > 1 else np.ones(1)
    is_sparse = len(steps) <= MAX_TICKS and gaps.min() > MIN_GAP
    if is_sparse:
        axes.set_xticks(steps)
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if steps[-1] < 100 * steps[0] else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: f"{float(f'{x:.3g}'):g}")  # three digits, and 1000 as it is
