"""Maps of several caches as one: their channels side by side, on the coarsest of their grids."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
"""Channels, height and width of a map."""


def stacked_shape(shapes: Sequence[Shape]) -> Shape:
    """Channels, height and width of maps of these shapes, stacked.

    Raises:
        ValueError: If the coarsest grid does not divide each of the others.
    """
    height, width = min(shape[1] for shape in shapes), min(shape[2] for shape in shapes)
    if any(shape[1] % height or shape[2] % width for shape in shapes):
        sizes = ", ".join(f"{h} x {w}" for _, h, w in shapes)
        raise ValueError(f"maps of {sizes} cells cannot be stacked: {height} x {width} does not divide all of them")
    return sum(shape[0] for shape in shapes), height, width


def stack_maps(maps: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Maps of the same images side by side. Finer ones are averaged over the cells of the coarsest grid.

    Args:
        maps: (images, channels, h, w) each, at least one; a rejected image is NaN, and stays so.

    Returns:
        (images, all channels, h, w) of the coarsest grid. Averages are float32, and so are then maps beside them.

    Raises:
        ValueError: As `stacked_shape`.
    """
    if len(maps) == 1:
        return maps[0]
    _, height, width = stacked_shape([(one.shape[1], one.shape[2], one.shape[3]) for one in maps])
    return np.concatenate([_average(one, height, width) for one in maps], axis=1)


def _average(maps: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    images, channels, rows, columns = maps.shape
    if (rows, columns) == (height, width):
        return maps
    cells = maps.reshape(images, channels, height, rows // height, width, columns // width)
    averages: NDArray[Any] = cells.mean(axis=(3, 5), dtype=np.float32)
    return averages
