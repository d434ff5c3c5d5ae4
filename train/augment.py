"""Geometry applied once to image and map together.

The view `canvas`: the image resized as for extraction, then image and map cut by one box that lies on the grid of map
cells, and flipped together. A pixel and its cell stay together exactly, at every image size.
"""

from dataclasses import dataclass

import numpy as np

from train.plan import seeded_rng


@dataclass(frozen=True)
class Placement:
    """Where a view is cut and whether it is mirrored."""

    top: int
    """First row, in map cells."""
    left: int
    """First column, in map cells."""
    flip: bool
    """Whether left and right are exchanged, in image and map."""


@dataclass(frozen=True)
class CanvasView:
    """One square box of the canvas and of the map that lies over it.

    Attributes:
        canvas_px: Side of the canvas that the map was extracted from.
        map_cells: Side of the map; a cell lies over canvas_px / map_cells pixels (the latent stride).
        crop_px: Side of the box.

    Raises:
        ValueError: If the map's cells do not lie on whole pixels, or the box does not lie on whole cells.
    """

    canvas_px: int
    map_cells: int
    crop_px: int

    def __post_init__(self) -> None:
        """Check that the three sizes fit."""
        if self.canvas_px % self.map_cells:
            raise ValueError(f"a map of {self.map_cells} cells does not divide a canvas of {self.canvas_px} px")
        if not 0 < self.crop_px <= self.canvas_px or self.crop_px % self.stride:
            raise ValueError(
                f"crop_px is {self.crop_px}: expected a multiple of the latent stride, {self.stride} px, of at most "
                f"{self.canvas_px} px (the canvas of this cache)"
            )

    @property
    def stride(self) -> int:
        """Pixels a cell."""
        return self.canvas_px // self.map_cells

    @property
    def crop_cells(self) -> int:
        """Side of the box in cells."""
        return self.crop_px // self.stride

    def centre(self) -> Placement:
        """The box in the middle; with an odd number of cells left over, half a cell up and left of it."""
        offset = (self.map_cells - self.crop_cells) // 2
        return Placement(offset, offset, flip=False)

    def random(self, seed: int, epoch: int, key: str, *, flip: bool) -> Placement:
        """A uniformly drawn box, mirrored in half of the cases if `flip`: a function of its arguments alone."""
        rng = seeded_rng("canvas", seed, epoch, key)
        top, left = rng.integers(0, self.map_cells - self.crop_cells, size=2, endpoint=True)
        return Placement(int(top), int(left), flip=bool(rng.integers(2)) and flip)

    def cut_image(self, canvas: np.ndarray, at: Placement) -> np.ndarray:
        """Cut the canvas.

        Args:
            canvas: (canvas_px, canvas_px, 3), uint8.
            at: Where.

        Returns:
            (3, crop_px, crop_px), uint8.
        """
        y, x = at.top * self.stride, at.left * self.stride
        image = canvas[y : y + self.crop_px, x : x + self.crop_px].transpose(2, 0, 1)
        return _mirrored(image, at.flip)

    def cut_map(self, lare_map: np.ndarray, at: Placement) -> np.ndarray:
        """Cut the map by the same box.

        Args:
            lare_map: (channels, map_cells, map_cells), float.
            at: Where.

        Returns:
            (channels, crop_cells, crop_cells), same dtype.
        """
        cells = self.crop_cells
        return _mirrored(lare_map[:, at.top : at.top + cells, at.left : at.left + cells], at.flip)


def _mirrored(array: np.ndarray, flip: bool) -> np.ndarray:
    return array[..., ::-1] if flip else array


def parse_view(name: str) -> str:
    """Check the name of a view.

    Raises:
        ValueError: If there is no such view.
    """
    if name == "native":
        raise ValueError(
            "view is 'native', the image at its own size, which is not built yet. "
            "'canvas' exists: the image as extraction saw it, cut together with its map."
        )
    if name != "canvas":
        raise ValueError(f"view is {name!r}: expected 'canvas'")
    return name
