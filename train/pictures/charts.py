"""Charts of predictions and of a matrix, drawn onto axes or a figure that the caller has made, in `STYLE`.

Needs matplotlib, which training does without: nothing that training loads loads this file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pyarrow.compute as pc
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from cache_schema import shown
from train.scoring import metrics
from train.scoring.calibration import COVERAGES, Calibration
from train.scoring.evaluate import select_sources
from train.scoring.scores import Reading

COLORMAP = "magma"
"""Of maps."""
PALETTE = ("#4269d0", "#e8804a", "#3ca951", "#a463f2", "#d6a51c", "#e0559a", "#2aa7b8", "#9c6b4e")
GREY = "#808080"
SHADE = "#d6a51c"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    "text.parse_math": False,  # names of sources are text, `$` and all
}
MAX_NAME = 60
"""Characters of a name on a chart."""
SHADED_COVERAGE = 0.8
"""Coverage on validation whose unsure band is shaded in the scores."""
UNIT_SQUARE: dict[str, Any] = {"xlim": (-0.01, 1.01), "ylim": (-0.01, 1.01), "aspect": "equal"}
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class ScoredSource:
    """An image source beside the real images of its subsets, as one reading scores them.

    Attributes:
        name: The source.
        is_control: Whether it stands in the place of the generated images only.
        scores: (seeds, samples), float64.
        labels: (samples,), 1 for the source, 0 for the real images.
    """

    name: str
    is_control: bool
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def title(self) -> str:
        """The name, in brackets where it is a control."""
        name = shown(self.name, MAX_NAME)
        # A legend leaves out what begins with an underscore.
        return f"({name})" if self.is_control else f" {name}" if name.startswith("_") else name


def score_sources(reading: Reading) -> list[ScoredSource]:
    """Generated sources, then controls."""
    return [
        ScoredSource(name, label is None, reading.scores.take(positions, axis=1), labels)
        for label in (1, None)
        for name, positions, labels in select_sources(reading, label)
    ]


@dataclass(frozen=True)
class Probabilities:
    """Scores of all labelled samples, as they are or with a temperature.

    Attributes:
        temperature: Of each seed; empty for scores as they are.
        scores: (seeds, samples), float64.
        labels: (samples,), 0 or 1.
        errors: Calibration error of each seed.
    """

    temperature: list[float]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    errors: list[float]

    @property
    def title(self) -> str:
        """What was done to them, and their calibration error."""
        how = f"with temperature {mean_sd(self.temperature, 2)}" if self.temperature else "as they are"
        return f"{how}: calibration error {mean_sd(self.errors)}"


def compute_probabilities(reading: Reading) -> list[Probabilities]:
    """Scores of a detector as they are, then with the temperature where one was fitted for each seed."""
    labels = pc.fill_null(reading.table["label"], -1).to_numpy()
    known = labels >= 0
    raw = reading.scores.compress(known, axis=1)  # contiguous rows
    made: list[tuple[list[float], NDArray[np.float64]]] = [([], raw)]
    fitted = [one for one in reading.calibrations if one and one.bands]  # older weights have neither
    if len(fitted) == len(raw):
        scaled = [one.scale(torch.from_numpy(row)).numpy() for row, one in zip(raw, fitted, strict=True)]
        made.append(([one.temperature for one in fitted], np.stack(scaled)))
    truth = torch.from_numpy(labels[known])
    return [
        Probabilities(t, rows, labels[known], [metrics.calibration_error(torch.from_numpy(row), truth) for row in rows])
        for t, rows in made
    ]


def plot_roc(axes: Axes, curves: Iterable[tuple[ScoredSource, Mapping[str, Any]]]) -> None:
    """Fill axes with ROC curves, a line a seed.

    Args:
        axes: Where to.
        curves: Scores, and what their lines look like (arguments of `Axes.plot`).
    """
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for source, style in curves:
        _plot_seeds(axes, [metrics.roc_points(row, source.labels) for row in source.scores], style)
    axes.set(**UNIT_SQUARE, xlabel="share of real images called generated", ylabel="share of generated images found")


def plot_precision_recall(axes: Axes, curves: Iterable[tuple[ScoredSource, Mapping[str, Any]]]) -> None:
    """Fill axes with precision against recall, as `plot_roc`; dotted: what guessing reaches."""
    shares = set()
    for source, style in curves:
        _plot_seeds(axes, [metrics.precision_recall_points(row, source.labels) for row in source.scores], style)
        shares.add(float(source.labels.mean()))
    for share in shares:
        axes.axhline(share, color=GREY, linewidth=1, linestyle=":")
    recall, precision = "recall: share of generated images found", "precision: share of calls that are right"
    axes.set(**UNIT_SQUARE, xlabel=recall, ylabel=precision)


def plot_scores(figure: Figure, reading: Reading) -> list[Axes]:
    """Fill a figure with a histogram a source; gives its axes.

    Grey: the source's real images; line: the threshold; shade: the unsure scores. Colours are `PALETTE`, in order.
    """
    sources = score_sources(reading)
    rows: list[Axes] = list(np.atleast_1d(figure.subplots(len(sources), 1, sharex=True)))
    everything = np.concatenate([source.scores.ravel() for source in sources])
    low, high = (0.0, 1.0) if reading.is_probability else np.quantile(everything, [0.005, 0.995])
    edges = np.linspace(low, high, 41)
    for axes, source, color in zip(rows, sources, colors_of(len(sources)), strict=True):
        _histogram(axes, source.scores[:, source.labels == 0], edges, color=GREY, alpha=0.4, fill=True)
        _histogram(axes, source.scores[:, source.labels == 1], edges, color=color, linewidth=1.6)
        for fitted in reading.calibrations:
            _mark_threshold(axes, fitted)
        if reading.is_probability:  # most lie at the ends
            axes.set_yscale("function", functions=(np.sqrt, np.square))
        axes.set(yticks=[], xlim=(low, high), ylim=(0, None))
        axes.spines["left"].set_visible(False)
        axes.set_title(f"{source.title}, n = {int(source.labels.sum())}", loc="left", color=color, weight="bold")
    rows[-1].locator_params(axis="x", nbins=5)
    rows[-1].set_xlabel("score, higher for “generated”\n(what lies beyond is in the last bins)")
    if reading.is_probability:
        rows[-1].set_xlabel("score: probability of “generated”\n(heights as square roots, so that few are seen too)")
    return rows


def plot_reliability(figure: Figure, probabilities: Sequence[Probabilities], num_bins: int = 10) -> list[Axes]:
    """Fill a figure; gives its axes. Above: mean score and share generated of each bin; below: how many it holds.

    Stored scores in grey, scores with the temperature in colour; all seeds together.
    """
    panels: list[Axes] = list(figure.subplots(2, 1, sharex=True, height_ratios=[3, 1]))
    panels[0].plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    edges = np.linspace(0, 1, num_bins + 1)
    for one in probabilities:
        scores, labels = one.scores.ravel(), np.tile(one.labels, len(one.scores))
        number = np.digitize(scores, edges[1:-1])
        counts = np.bincount(number, minlength=num_bins)
        full = counts > 0
        mean, share = (np.bincount(number, x, minlength=num_bins)[full] / counts[full] for x in (scores, labels))
        color, line = (PALETTE[0], "-") if one.temperature else (GREY, "--")
        panels[0].plot(
            mean, share, color=color, linestyle=line, marker="o", markersize=4, linewidth=1.6, label=one.title
        )
        panels[1].stairs(counts, edges, color=color, linestyle=line, linewidth=1.6)
    panels[0].set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share generated")
    panels[1].set(xlabel="probability of “generated”", ylabel="images", ylim=(0, None))
    return panels


def plot_matrix(axes: Axes, matrix: Mapping[str, Any], name: str) -> AxesImage:
    """Fill axes with the heat map of one metric of matrix.json."""
    cells = matrix["metrics"][name]["cells"]
    means = np.array([[cell["mean"] for cell in row] for row in cells])
    image = axes.imshow(means, vmin=0.5, vmax=1, cmap="viridis", aspect="auto")
    for (y, x), mean in np.ndenumerate(means):
        sd = cells[y][x]["sd"]
        text = f"{mean:.2f}" + ("" if sd is None else f"\n±{sd:.2f}")
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if mean < 0.8 else "black")
    rows, columns = ([shown(name, MAX_NAME) for name in matrix[key]] for key in ("rows", "columns"))
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(False)
    return image


def colors_of(num: int) -> list[str]:
    """The first `num` colours of `PALETTE`, repeated where it has fewer."""
    return [PALETTE[i % len(PALETTE)] for i in range(num)]


def _plot_seeds(axes: Axes, curves: Sequence[Curve], style: Mapping[str, Any]) -> None:
    """A line a seed, thinner for several seeds, with one entry in the legend."""
    for number, (x, y) in enumerate(curves):
        width = 1.8 if len(curves) == 1 else 1.0
        axes.plot(x, y, linewidth=width, **{**style, **({"label": None} if number else {})})


def _histogram(axes: Axes, values: NDArray[np.float64], edges: NDArray[np.float64], **style: Any) -> None:
    """Shares of the values; values beyond an end count at the end."""
    counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
    axes.stairs(counts / values.size, edges, **style)


def _mark_threshold(axes: Axes, fitted: Calibration | None) -> None:
    if fitted is None:
        return
    axes.axvline(fitted.threshold, color=matplotlib.rcParams["text.color"], linewidth=1.2)
    if fitted.bands:
        axes.axvspan(*fitted.bands[COVERAGES.index(SHADED_COVERAGE)], color=SHADE, alpha=0.25, linewidth=0)


def colorize(values: NDArray[np.floating], top: float) -> NDArray[np.uint8]:
    """Numbers from 0 to `top`, (h, w), as colours of `COLORMAP`, (h, w, 3)."""
    colors = matplotlib.colormaps[COLORMAP](np.clip(values / top, 0, 1), bytes=True)
    return np.ascontiguousarray(colors[..., :3])


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """The mean, "0.912", or mean and standard deviation, "0.912 ± 0.013", of several."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
