"""Moves of verdicts as a heat table: a panel for each class, with and without the domain check; a row a set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.verdicts.files import REFERENCE
from experiments.verdicts.moves import CLASSES, MOVES
from experiments.verdicts.shares import DOMAIN
from train.pictures.plots import styled_figure

TITLES = {"checked": "domain check", "unchecked": "no domain check"}
"""Name of `DOMAIN` → how it is said."""
COLORS = {False: "Blues", True: "Oranges"}
"""Colours of what may happen, and of flips, which must not."""


def draw_moves(sets: Mapping[str, Any], path: Path) -> None:
    """Write a PNG file.

    Args:
        sets: Name → its numbers; the first rule of "moves" is shown.
        path: Where to.
    """
    height = 0.8 + 0.3 * max(len(each["moves"][0]["files"]) for each in sets.values())
    panels_across = len(CLASSES) * len(DOMAIN)
    title = "Verdicts on other files of a picture against the verdict on its PNG, %"
    with styled_figure(path, title, 2.2 + 2.3 * panels_across, 1.4 + height * len(sets)) as figure:
        rows = figure.subplots(len(sets), panels_across, squeeze=False, sharey="row")
        for row, (name, each) in zip(rows, sets.items(), strict=True):
            files = {file: by for file, by in each["moves"][0]["files"].items() if file != REFERENCE}
            kinds = [(kind, check) for kind in CLASSES for check in DOMAIN]
            for axes, (kind, check) in zip(row, kinds, strict=True):
                counts = [[by[check][kind][move] for move in MOVES] for by in files.values()]
                _plot(axes, np.array(counts, dtype=float), list(files))
                axes.set_title(f"{name}: {kind}\n{TITLES[check]}", loc="left", fontsize=8)


def _plot(axes: Axes, counts: NDArray[np.float64], files: list[str]) -> None:
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(1)
    for is_flip, colors in COLORS.items():
        hidden = np.array([move.startswith("flipped") is not is_flip for move in MOVES])
        values = np.ma.masked_array(shares, np.broadcast_to(hidden, shares.shape))
        axes.imshow(values, vmin=0, vmax=20 if is_flip else 100, cmap=colors, aspect="auto")
    for (y, x), share in np.ndenumerate(shares):
        is_dark = share > (12 if MOVES[x].startswith("flipped") else 60)
        text = "" if share == 0 else f"{share:.0f}" if share >= 10 else f"{share:.1f}"
        axes.text(x, y, text, ha="center", va="center", fontsize=7, color="white" if is_dark else "black")
    axes.set_xticks(range(len(MOVES)), MOVES, rotation=35, ha="right", rotation_mode="anchor", fontsize=7)
    axes.set_yticks(range(len(files)), files, fontsize=7)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(False)
