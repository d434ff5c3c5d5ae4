"""Charts and pictures as strings to be put into a page: SVG that follows the page's colours, PNG as data URIs."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

PALETTE = ("#4269d0", "#e8804a", "#3ca951", "#a463f2", "#d6a51c", "#e0559a", "#2aa7b8", "#9c6b4e")
INK = "#010203"
"""Stands for the page's text colour, which is put in its place in the SVG."""
GREY = "#888888"
COLORMAP = "magma"

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.2,
}


def to_svg(figure: Figure, label: str) -> str:
    """A figure as an `<svg>` element that scales with its place and takes its text colour from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.05)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    # Names of groups come again in every chart of the page; only those of <defs> are referred to.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--font)", svg)
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg)
    return svg.replace(INK, "currentColor").replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def color_of(names: Sequence[str]) -> dict[str, str]:
    """A colour a name, in their order."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def roc_points(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates of every threshold, equal scores taken together.

    Args:
        scores: (n,), higher means generated.
        labels: (n,), 1 generated, 0 real; both must occur.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.diff(scores[order]) != 0, True)
    true, false = np.cumsum(labels[order] == 1)[last_of_ties], np.cumsum(labels[order] == 0)[last_of_ties]
    return np.append(0, false / false[-1]), np.append(0, true / true[-1])


def roc_chart(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], colors: Mapping[str, str], label: str) -> str:
    """ROC curves of several readings, {reading: (scores, labels)}."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.3, 3.2))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (2, 3)))
        for name, (scores, labels) in curves.items():
            x, y = roc_points(scores, labels)
            dashes = (0, (4, 2)) if name.endswith("_permuted") else "solid"
            axes.plot(x, y, color=colors[name], linewidth=1.8, linestyle=dashes)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="photographs called generated", ylabel="generated found")
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
        return to_svg(figure, label)


def histogram_chart(
    values: Mapping[str, np.ndarray], reference: str, colors: Mapping[str, str], label: str, width: float = 10
) -> str:
    """Histograms on one axis of several sources, each against the `reference` filled in grey.

    Args:
        values: {source: (n,) values}, the reference among them.
        reference: Name of the reference.
        colors: A colour a source.
        label: What the chart is, for screen readers.
        width: In inches. Text keeps its size in the chart, so a narrow chart has larger text on the page.
    """
    names = [name for name in values if name != reference]
    # The axis ends where all but a few values do; those few are counted into the last bin.
    top = float(np.quantile(np.concatenate(list(values.values())), 0.995))
    low = float(min(v.min() for v in values.values()))
    edges = np.linspace(low, max(top, low + 1e-9), 36)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, 1.3 * len(names) + 0.5))
        rows: list[Axes] = list(np.atleast_1d(figure.subplots(len(names), 1, sharex=True, sharey=True)))
        for axes, name in zip(rows, names, strict=True):
            _steps(axes, values[reference], edges, color=GREY, alpha=0.35, fill=True)
            _steps(axes, values[name], edges, color=colors[name], linewidth=1.8)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.set_title(name, loc="left", color=colors[name], weight="bold", size="medium", pad=3)
        rows[-1].set_xlabel("mean LaRE of an image")
        figure.subplots_adjust(hspace=0.35)
        return to_svg(figure, label)


def _steps(axes: Axes, values: np.ndarray, edges: np.ndarray, **style: object) -> None:
    counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
    axes.stairs(counts / len(values), edges, **style)  # type: ignore[arg-type]


def png_uri(pixels: np.ndarray) -> str:
    """(h, w, 3) uint8 as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def colorize(values: np.ndarray, top: float) -> np.ndarray:
    """(h, w) numbers from 0 to `top` as colours, (h, w, 3) uint8."""
    colors = matplotlib.colormaps[COLORMAP](np.clip(values / top, 0, 1), bytes=True)
    return np.ascontiguousarray(colors[..., :3])


def color_bar() -> np.ndarray:
    """The colour scale from left to right, (1, 256, 3) uint8."""
    return colorize(np.linspace(0, 1, 256)[None], 1.0)
