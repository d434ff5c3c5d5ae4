"""PNGs of predictions: ROC, precision and recall, scores with the threshold, reliability, the matrix.

Every function draws one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from cache_schema import new_opened, shown
from train.pictures.charts import (
    GREY,
    SHADE,
    SHADED_COVERAGE,
    STYLE,
    ScoredSource,
    colors_of,
    compute_probabilities,
    mean_sd,
    plot_matrix,
    plot_precision_recall,
    plot_reliability,
    plot_roc,
    plot_scores,
    score_sources,
)
from train.scoring import metrics
from train.scoring.matrix import METRICS
from train.scoring.scores import Reading


@contextmanager
def styled_figure(path: Path, title: str, width: float, height: float) -> Iterator[Figure]:
    """A figure in our style, saved when the block ends."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.suptitle(shown(title), x=0.01, ha="left", fontsize=11, weight="bold")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_opened(path, durable=False) as file:
            figure.savefig(file, format=path.suffix[1:])


def draw_roc(name: str, reading: Reading, path: Path) -> None:
    """ROC curves: a colour an image source, controls dashed, a line a seed."""
    with styled_figure(path, f"{name}: ROC by image source", 6.4, 4.2) as figure:
        axes = figure.subplots()
        plot_roc(axes, _curves_by_source(reading, "AUROC", metrics.auroc))
        _legend_beside(axes)


def draw_precision_recall(name: str, reading: Reading, path: Path) -> None:
    """Precision against recall, as `draw_roc`; dotted: the share of generated images, the precision of guessing."""
    with styled_figure(path, f"{name}: precision and recall by image source", 6.4, 4.2) as figure:
        axes = figure.subplots()
        plot_precision_recall(axes, _curves_by_source(reading, "AP", metrics.average_precision))
        _legend_beside(axes)


def draw_scores(name: str, reading: Reading, path: Path) -> None:
    """Histograms of scores, each source over its reals, with threshold and unsure band of each seed."""
    seeds = "" if len(reading.scores) == 1 else f", {len(reading.scores)} seeds together"
    with styled_figure(path, f"{name}: scores{seeds}", 7.2, 1.0 + 1.15 * len(score_sources(reading))) as figure:
        rows = plot_scores(figure, reading)
        low, high = rows[0].get_xlim()
        rows[0].legend(handles=_legend_of_scores(reading, low, high), loc="upper left", bbox_to_anchor=(1, 1.1))


def draw_reliability(name: str, reading: Reading, path: Path) -> None:
    """How often images of a score are generated, before and after the temperature; all labelled samples, all seeds."""
    with styled_figure(path, f"{name}: reliability on all labelled samples", 7.6, 4.4) as figure:
        upper, _ = plot_reliability(figure, compute_probabilities(reading))
        _legend_beside(upper)


def draw_matrix(matrix: Mapping[str, Any], path: Path) -> None:
    """Heat maps of matrix.json, one a metric: trained on the row, tested on the column; ± is the sd over seeds."""
    rows, columns, values = matrix["rows"], matrix["columns"], matrix["metrics"]
    width, height = max(4.4, 2.2 + 0.75 * len(columns)), 1.7 + 0.55 * len(rows)
    num_seeds = matrix["settings"]["seeds"]
    title = "Trained on the row, tested on the column" + (f": mean ± sd of {num_seeds} seeds" if num_seeds > 1 else "")
    across = 2 if len(values) > 1 else 1
    down = -(-len(values) // across)
    with styled_figure(path, title, across * width + 0.6, down * height + 0.4) as figure:
        panels = np.atleast_1d(figure.subplots(down, across, squeeze=False)).ravel()
        for axes, name in zip(panels, values, strict=False):
            image = plot_matrix(axes, matrix, name)
            axes.set_title(f"{METRICS[name]}\n{describe_diagonal(values[name])}", loc="left")
        for axes in panels[len(values) :]:
            axes.set_axis_off()
        figure.colorbar(image, ax=list(panels), shrink=0.6, extend="min", label="0.5 and below is guessing")


def _curves_by_source(
    reading: Reading, metric: str, compute: Callable[[Tensor, Tensor], float]
) -> Iterator[tuple[ScoredSource, dict[str, Any]]]:
    """Each source with the style of its line, whose label tells a metric."""
    sources = score_sources(reading)
    for source, color in zip(sources, colors_of(len(sources)), strict=True):
        values = [compute(torch.from_numpy(row), torch.from_numpy(source.labels)) for row in source.scores]
        label = f"{source.title}   {metric} {mean_sd(values)}"
        yield source, {"color": color, "linestyle": "--" if source.is_control else "-", "label": label}


def _legend_of_scores(reading: Reading, low: float, high: float) -> list[Any]:
    """What is grey, the line and the shade stand for."""
    entries: list[Any] = [Patch(color=GREY, alpha=0.4, linewidth=0, label="real")]
    fitted = [one for one in reading.calibrations if one is not None]
    if fitted:
        where = "" if any(low <= one.threshold <= high for one in fitted) else ", off the chart"
        text = f"threshold {mean_sd([one.threshold for one in fitted])}{where}"
        entries.append(Line2D([], [], color="black", linewidth=1.2, label=text))
    if any(one.bands for one in fitted):
        text = f"unsure, so that {SHADED_COVERAGE:.0%} of\nvalidation is answered"
        entries.append(Patch(color=SHADE, alpha=0.25, linewidth=0, label=text))
    return entries


def describe_diagonal(value: Mapping[str, Any]) -> str:
    """The means on and off the diagonal; what is not defined is left out."""
    parts = [(text, value[key]) for text, key in (("diagonal", "diagonal"), ("off", "off_diagonal")) if value[key]]
    return ", ".join(f"{text} {_cell(cell)}" for text, cell in parts)


def _cell(cell: Mapping[str, float | None]) -> str:
    return f"{cell['mean']:.2f}" + ("" if cell["sd"] is None else f" ±{cell['sd']:.2f}")


def _legend_beside(axes: Axes) -> None:
    """The legend to the right; names in brackets are controls."""
    has_controls = any(text.startswith("(") for text in axes.get_legend_handles_labels()[1])
    title = "(in brackets: controls)" if has_controls else None
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, title=title, alignment="left")
