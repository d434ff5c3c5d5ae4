"""What a verdict looks like: its error map in colours, and a figure of picture and map side by side."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from detect.verdict import Verdict

COLORMAP = "magma"
"""Of maps: perceptually uniform, dark is low."""
TOP_QUANTILE = 0.995
"""Of a map's cells: the brightest colour begins here, since the few highest cells would make all others dark."""
CAPTION = "error map, not proof"
MAX_SIDE_PX, MIN_SIDE_PX = 512, 192
"""Sides of a panel: large pictures are made smaller, tiny ones larger."""
MARGIN_PX, LINE_PX, BAR_PX, TEXT_PX = 12, 20, 10, 13
INK, GREY, PAPER = "#202020", "#606060", "#ffffff"
INK_OF = {"generated": "#b3261e", "real": "#1b6e3c", "unsure": "#8a5a00"}
"""Verdict → its colour on paper, each at a contrast of 4.5 or more."""


@dataclass(frozen=True)
class _Panel:
    """A picture below its title; with a colour bar where its colours stand for numbers from 0 to `top`."""

    title: str
    image: Image.Image
    top: float | None = None


def heat_image(lare: NDArray[np.floating], top: float | None = None) -> Image.Image:
    """An error map as colours, a pixel a cell, dark for low: scale it up with `Image.Resampling.NEAREST`.

    Args:
        lare: Map, (c, h, w): the mean over channels is shown; or (h, w). Finite, >= 0.
        top: What the brightest colour stands for; None: `top_of` this map.

    Returns:
        Picture in mode RGB, w x h pixels.

    Raises:
        ValueError: If it has another number of axes, or a value is not finite.
    """
    from matplotlib import colormaps  # a third of a second that a command's help does without

    cells = _cells(lare)
    scaled = np.clip(cells / (top_of(cells) if top is None else top), 0, 1)
    return Image.fromarray(np.ascontiguousarray(colormaps[COLORMAP](scaled, bytes=True)[..., :3]))


def top_of(lare: NDArray[np.floating]) -> float:
    """The value that a map's brightest colour stands for, above 0; the map as of `heat_image`."""
    return max(float(np.quantile(_cells(lare), TOP_QUANTILE)), float(np.finfo(np.float32).tiny))


def map_figure(image: Image.Image, verdict: Verdict) -> Image.Image:
    """A picture with its error map beside it at the same size, the map's colour bar, and a line that says the verdict.

    The attention is a third panel where the verdict has one: a square, since it covers the network's centre box alone.

    Args:
        image: The whole picture, upright, in any mode that converts to RGB.
        verdict: What was said of it.

    Returns:
        Figure in mode RGB; no panel is larger than 512 px a side.
    """
    size = _panel_size(image.size)
    reducing = Image.Resampling.LANCZOS if size[0] < image.width else Image.Resampling.NEAREST
    panels = [
        _Panel("picture", image.convert("RGB").resize(size, reducing, reducing_gap=3.0)),
        _map_panel("error map", verdict.lare, size),
    ]
    if verdict.attention is not None:
        # It covers the square that the network sees, which a verdict does not place in the picture.
        side = min(max(size[0], MIN_SIDE_PX), size[1])
        panels.append(_map_panel("attention, in the centre", verdict.attention, (side, side)))
    chance = "" if verdict.probability is None else f", P(generated) = {percent(verdict.probability)}"
    return _draw(panels, verdict.verdict + chance, INK_OF[verdict.verdict])


def percent(probability: float) -> str:
    """A probability as a person reads it: "98 %", "99.7 %"; never 0 or 100 unless it is."""
    digits = 0 if 0.01 <= probability <= 0.99 else 1
    shown = round(100 * probability, digits)
    if shown == 0 and probability > 0:
        return "< 0.1 %"
    if shown == 100 and probability < 1:
        return "> 99.9 %"
    return f"{shown:.{digits}f} %"


def _cells(lare: NDArray[np.floating]) -> NDArray[np.float64]:
    cells = np.asarray(lare, np.float64)
    if cells.ndim not in (2, 3) or 0 in cells.shape:
        raise ValueError(f"the map has shape {cells.shape}: expected (c, h, w) or (h, w)")
    if not np.isfinite(cells).all():
        raise ValueError("the map has values that are not finite")
    return cells.mean(axis=0) if cells.ndim == 3 else cells


def _map_panel(title: str, values: NDArray[np.floating], size: tuple[int, int]) -> _Panel:
    # Cells stay visible as squares: smooth colours would promise a sharper map than there is.
    return _Panel(title, heat_image(values).resize(size, Image.Resampling.NEAREST), top_of(values))


def _panel_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a panel, in the picture's proportions as far as a side of one pixel allows."""
    longer = max(size)
    scale = min(max(longer, MIN_SIDE_PX), MAX_SIDE_PX) / longer
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _draw(panels: list[_Panel], said: str, ink: str) -> Image.Image:
    width, height = panels[0].image.size
    column = max(width, MIN_SIDE_PX)  # room for the numbers of a colour bar below a narrow picture
    bottom = MARGIN_PX + LINE_PX + height + MARGIN_PX // 2
    total = (MARGIN_PX + len(panels) * (column + MARGIN_PX), bottom + BAR_PX + 2 * LINE_PX + MARGIN_PX + MARGIN_PX // 2)
    figure = Image.new("RGB", total, PAPER)
    draw, font, bold = ImageDraw.Draw(figure), _font("DejaVuSans.ttf"), _font("DejaVuSans-Bold.ttf")
    for i, panel in enumerate(panels):
        left = MARGIN_PX + i * (column + MARGIN_PX)
        draw.text((left, MARGIN_PX), panel.title, GREY, font)
        figure.paste(panel.image, (left, MARGIN_PX + LINE_PX))
        if panel.top is not None:
            bar = heat_image(np.linspace(0, 1, column)[None], 1.0).resize((column, BAR_PX), Image.Resampling.NEAREST)
            figure.paste(bar, (left, bottom))
            draw.text((left, bottom + BAR_PX + 2), "0", GREY, font)
            draw.text((left + column, bottom + BAR_PX + 2), f"{panel.top:.3g}", GREY, font, anchor="ra")
    line = bottom + BAR_PX + LINE_PX + MARGIN_PX // 2
    draw.text((MARGIN_PX, line), said, ink, bold)
    draw.text((MARGIN_PX + draw.textlength(said, bold) + 2 * MARGIN_PX, line), CAPTION, INK, font)
    return figure


@cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib, so that figures look the same on every machine."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / name, TEXT_PX)
