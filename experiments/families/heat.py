"""Heat maps of the question on families: a panel for each reading and task, the probe in the row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from experiments.answers.rule import Value
from train.pictures.plots import styled_figure
from train.scoring.titles import TITLES

PICTURE = "families.png"


def draw_heat(found: Mapping[str, Any], path: Path) -> None:
    """Write a PNG file.

    Args:
        found: Numbers, of which "matrix" is shown.
        path: Where to.
    """
    matrix, models = found["matrix"], found["models"]
    across = max(map(len, matrix.values()))
    with styled_figure(path, "AUROC: probe in the row, image source in the column", 1.2 + 2.7 * across, 5.8) as figure:
        rows = figure.subplots(len(matrix), across, squeeze=False)
        for row, (task, readings) in zip(rows, matrix.items(), strict=True):
            for axes, (name, cells) in zip(row, readings.items(), strict=True):
                image = _plot(axes, cells, models)
                axes.set_title(f"{TITLES[name]}\n{task}", loc="left", fontsize=9)
        figure.colorbar(image, ax=rows, shrink=0.6, label="0.5 is chance, below it inverted")


def _plot(axes: Axes, cells: Mapping[str, Mapping[str, Value]], models: list[str]) -> AxesImage:
    means = np.array([[cells[probe][source]["mean"] for source in models] for probe in models])
    image = axes.imshow(means, vmin=0, vmax=1, cmap="RdBu_r", aspect="auto")
    for (y, x), mean in np.ndenumerate(means):
        color = "white" if abs(mean - 0.5) > 0.35 else "black"
        axes.text(x, y, f"{mean:.2f}", ha="center", va="center", fontsize=9, color=color)
    names = [letter.upper() for letter in models]
    axes.set_xticks(range(len(models)), names)
    axes.set_yticks(range(len(models)), names)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(False)
    return image
