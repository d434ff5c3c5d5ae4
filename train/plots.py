"""Pictures of predictions: ROC, precision and recall, scores with the threshold, reliability, the matrix.

Every function draws one PNG. Needs matplotlib, which training does without: nothing else in `train` loads this file.
"""

from collections.abc import Iterator, Mapping, Sequence
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
from numpy.typing import NDArray

from train import metrics
from train.calibration import COVERAGES, Calibration
from train.evaluate import select_sources
from train.matrix import METRICS
from train.scores import Reading

PALETTE = ("#4269d0", "#e8804a", "#3ca951", "#a463f2", "#d6a51c", "#e0559a", "#2aa7b8", "#9c6b4e")
GREY = "#777777"
SHADE = "#d6a51c"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
}
SHADED_COVERAGE = 0.8
"""Coverage on validation whose unsure band is shaded in the scores."""
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@contextmanager
def styled_figure(path: Path, title: str, width: float, height: float) -> Iterator[Figure]:
    """A figure in our style, saved when the block ends."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def draw_roc(name: str, reading: Reading, path: Path) -> None:
    """ROC curves: a colour an image source, controls dashed, a line a seed."""
    with styled_figure(path, f"{name}: ROC by image source", 6.4, 4.2) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        for label, style, scores, labels in _sources(reading):
            aurocs = [metrics.auroc(torch.from_numpy(row), torch.from_numpy(labels)) for row in scores]
            text = f"{label}   AUROC {_mean_sd(aurocs)}"
            _draw_seeds(axes, [metrics.roc_points(row, labels) for row in scores], text, style)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="share of real images called generated", ylabel="share of generated images found")
        _legend_beside(axes)


def draw_precision_recall(name: str, reading: Reading, path: Path) -> None:
    """Precision against recall, as `draw_roc`; dotted: the share of generated images, which guessing reaches."""
    with styled_figure(path, f"{name}: precision and recall by image source", 6.4, 4.2) as figure:
        axes = figure.subplots()
        for label, style, scores, labels in _sources(reading):
            values = [metrics.average_precision(torch.from_numpy(row), torch.from_numpy(labels)) for row in scores]
            curves = [metrics.precision_recall_points(row, labels) for row in scores]
            _draw_seeds(axes, curves, f"{label}   AP {_mean_sd(values)}", style)
            axes.axhline(labels.mean(), color=style["color"], linewidth=0.8, linestyle=":")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="recall: share of generated images found", ylabel="precision: share of those called so")
        _legend_beside(axes)


def draw_scores(name: str, reading: Reading, path: Path) -> None:
    """Histograms of each source's scores over those of its reals, with threshold and unsure band of each seed."""
    sources = list(_sources(reading))
    seeds = "" if len(reading.scores) == 1 else f", {len(reading.scores)} seeds together"
    with styled_figure(path, f"{name}: scores{seeds}", 7.2, 0.9 + 1.15 * len(sources)) as figure:
        rows: list[Axes] = list(np.atleast_1d(figure.subplots(len(sources), 1, sharex=True)))
        everything = np.concatenate([scores.ravel() for _, _, scores, _ in sources])
        low, high = (0.0, 1.0) if reading.is_probability else np.quantile(everything, [0.005, 0.995])
        edges = np.linspace(low, high, 41)
        for axes, (label, style, scores, labels) in zip(rows, sources, strict=True):
            _histogram(axes, scores[:, labels == 0], edges, color=GREY, alpha=0.35, fill=True)
            _histogram(axes, scores[:, labels == 1], edges, color=style["color"], linewidth=1.6)
            for fitted in reading.calibrations:
                _mark_threshold(axes, fitted)
            if reading.is_probability:  # most lie at the ends
                axes.set_yscale("function", functions=(np.sqrt, np.square))
            axes.set(yticks=[], xlim=(low, high), ylim=(0, None))
            axes.spines["left"].set_visible(False)
            axes.set_title(f"{label} (n = {int(labels.sum())})", loc="left", color=style["color"], weight="bold")
        rows[-1].set_xlabel("score, higher for “generated”; the last bins hold what lies beyond")
        if reading.is_probability:
            rows[-1].set_xlabel("score: probability of “generated” (heights as square roots, so that few are seen too)")
        rows[0].legend(handles=_legend_of_scores(reading, low, high), loc="upper left", bbox_to_anchor=(1, 1.1))


def draw_reliability(name: str, reading: Reading, path: Path, num_bins: int = 10) -> None:
    """How often images of a score are generated, before and after the temperature; all labelled samples, all seeds."""
    labels = np.concatenate([[-1 if v is None else v for v in reading.table["label"].to_pylist()]])
    known = labels >= 0
    with styled_figure(path, f"{name}: reliability on all labelled samples", 7.2, 4.4) as figure:
        panels = figure.subplots(2, 2, sharex=True, height_ratios=[3, 1])
        for column, (title, scaled) in enumerate((("before", False), ("after temperature", True))):
            scores = [_scale(row[known], fitted, scaled) for row, fitted in _seeds(reading)]
            truth = np.tile(labels[known], len(scores))
            errors = [metrics.calibration_error(torch.from_numpy(s), torch.from_numpy(labels[known])) for s in scores]
            _draw_bins(panels[:, column], np.concatenate(scores), truth, num_bins)
            temperatures = [fitted.temperature for fitted in reading.calibrations if fitted and fitted.bands]
            if scaled:
                title += f" {_mean_sd(temperatures, 2)}" if temperatures else " (none was fitted)"
            panels[0, column].set_title(f"{title}: calibration error {_mean_sd(errors)}", loc="left")
        panels[0, 0].set_ylabel("share generated")
        panels[1, 0].set_ylabel("images")


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
        for axes, (name, value) in zip(panels, values.items(), strict=False):
            means = np.array([[cell["mean"] for cell in row] for row in value["cells"]])
            image = axes.imshow(means, vmin=0.5, vmax=1, cmap="viridis", aspect="auto")
            for (y, x), mean in np.ndenumerate(means):
                sd = value["cells"][y][x]["sd"]
                text = f"{mean:.2f}" + ("" if sd is None else f"\n±{sd:.2f}")
                axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if mean < 0.8 else "black")
            axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(rows)), rows)
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
            axes.set_title(f"{METRICS[name]}\n{_describe_diagonal(value)}", loc="left")
        for axes in panels[len(values) :]:
            axes.set_axis_off()
        figure.colorbar(image, ax=list(panels), shrink=0.6, extend="min", label="0.5 and below is guessing")


def _sources(reading: Reading) -> Iterator[tuple[str, dict[str, Any], NDArray[np.float64], NDArray[np.int64]]]:
    """Sources, then controls: name, line style, scores (seeds, samples) and labels with the reals of its subsets."""
    solid = [(name, "-", positions, labels) for name, positions, labels in select_sources(reading, 1)]
    dashed = [(f"({name})", "--", positions, labels) for name, positions, labels in select_sources(reading, None)]
    for number, (name, line, positions, labels) in enumerate([*solid, *dashed]):
        style = {"color": PALETTE[number % len(PALETTE)], "linestyle": line}
        yield name, style, reading.scores.take(positions, axis=1), labels


def _seeds(reading: Reading) -> list[tuple[NDArray[np.float64], Calibration | None]]:
    return list(zip(reading.scores, reading.calibrations, strict=True))


def _scale(scores: NDArray[np.float64], fitted: Calibration | None, scaled: bool) -> NDArray[np.float64]:
    if fitted is None or not scaled:
        return scores
    result: NDArray[np.float64] = fitted.scale(torch.from_numpy(scores)).numpy()
    return result


def _draw_seeds(axes: Axes, curves: Sequence[Curve], label: str, style: Mapping[str, Any]) -> None:
    """A line a seed, thinner where there are several, with one entry in the legend."""
    for number, (x, y) in enumerate(curves):
        width = 1.8 if len(curves) == 1 else 1.0
        axes.plot(x, y, linewidth=width, label=label if number == 0 else None, **style)


def _histogram(axes: Axes, values: NDArray[np.float64], edges: NDArray[np.float64], **style: Any) -> None:
    """Shares of the values; those beyond an end are counted at it."""
    counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
    axes.stairs(counts / values.size, edges, **style)


def _mark_threshold(axes: Axes, fitted: Calibration | None) -> None:
    if fitted is None:
        return
    axes.axvline(fitted.threshold, color="black", linewidth=1.2)
    if fitted.bands:
        axes.axvspan(*fitted.bands[COVERAGES.index(SHADED_COVERAGE)], color=SHADE, alpha=0.25, linewidth=0)


def _legend_of_scores(reading: Reading, low: float, high: float) -> list[Any]:
    """What is grey, the line and the shade stand for."""
    entries: list[Any] = [Patch(color=GREY, alpha=0.35, linewidth=0, label="real")]
    fitted = [one for one in reading.calibrations if one is not None]
    if fitted:
        where = "" if any(low <= one.threshold <= high for one in fitted) else ", off the chart"
        text = f"threshold {_mean_sd([one.threshold for one in fitted])}{where}"
        entries.append(Line2D([], [], color="black", linewidth=1.2, label=text))
    if any(one.bands for one in fitted):
        text = f"unsure, so that {SHADED_COVERAGE:.0%} of\nvalidation is answered"
        entries.append(Patch(color=SHADE, alpha=0.25, linewidth=0, label=text))
    return entries


def _draw_bins(panels: Sequence[Axes], scores: NDArray[np.float64], labels: NDArray[np.int64], num_bins: int) -> None:
    """Upper panel: mean score and share generated of each bin; lower one: how many images it holds."""
    edges = np.linspace(0, 1, num_bins + 1)
    number = np.digitize(scores, edges[1:-1])
    counts = np.bincount(number, minlength=num_bins)
    full = counts > 0
    mean, share = (np.bincount(number, x, minlength=num_bins)[full] / counts[full] for x in (scores, labels))
    panels[0].plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    panels[0].plot(mean, share, color=PALETTE[0], marker="o", markersize=4, linewidth=1.6)
    panels[0].set(xlim=(0, 1), ylim=(-0.02, 1.02))
    panels[1].bar(edges[:-1], counts, width=1 / num_bins, align="edge", color=PALETTE[0], alpha=0.5)
    panels[1].set(xlabel="probability of “generated”")


def _describe_diagonal(value: Mapping[str, Any]) -> str:
    """The means on and off the diagonal, as far as there are any."""
    parts = [(text, value[key]) for text, key in (("diagonal", "diagonal"), ("off", "off_diagonal")) if value[key]]
    return ", ".join(f"{text} {_cell(cell)}" for text, cell in parts)


def _cell(cell: Mapping[str, float | None]) -> str:
    return f"{cell['mean']:.2f}" + ("" if cell["sd"] is None else f" ±{cell['sd']:.2f}")


def _mean_sd(values: Sequence[float], digits: int = 3) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def _legend_beside(axes: Axes) -> None:
    """The legend to the right; names in brackets are controls."""
    has_controls = any(text.startswith("(") for text in axes.get_legend_handles_labels()[1])
    title = "(in brackets: controls)" if has_controls else None
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, title=title, alignment="left")
