"""Charts as SVG that takes its colours from the page around it, and pictures as data URIs."""

import base64
import html
import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from train.pictures.charts import GREY, STYLE, colorize

INK = "#010203"
"""Stands for the page's text colour, which is put in its place in the SVG."""
PAGE_STYLE: dict[Any, Any] = STYLE | {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "savefig.transparent": True,
    "savefig.pad_inches": 0.05,
}


def draw_svg(label: str, width: float, height: float, plot: Callable[[Figure], object]) -> str:
    """A chart as an `<svg>` element that scales with its place and takes its text colour from the page.

    Args:
        label: What the chart is, for screen readers.
        width: In inches. Text keeps its size in the chart, so a narrow chart has larger text on the page.
        height: In inches.
        plot: Fills the figure.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(PAGE_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        plot(figure)
        figure.savefig(buffer, format="svg")
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    # Names of groups come again in every chart of the page; only those of <defs> are referred to.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'font-family: [^;"]*', "font-family: var(--font)", svg)
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg)
    return svg.replace(INK, "currentColor").replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def png_uri(pixels: np.ndarray) -> str:
    """(h, w, 3) uint8 as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def color_bar() -> str:
    """The colours of maps from left to right, as a data URI."""
    return png_uri(colorize(np.linspace(0, 1, 256)[None], 1.0))
