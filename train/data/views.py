"""Geometry applied once to image and map together: what the classifier sees of a picture and of its map.

The canvas is here, the two native views are in `train.data.native_views`.

| view | image | map | aligned |
| --- | --- | --- | --- |
| `CanvasView` | a box of the canvas, on whole map cells | the same box | exactly, at every image size |
| `WholeMapView` | a box of the picture at its own size | all of it | no: this is the authors' way |
| `SampledMapView` | the same | interpolated under the box | within interpolation, one image size only |

Each mirrors image and map together. The map lies over the whole picture, squashed to the canvas.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from train.data.decoding import to_canvas
from train.data.plan import seeded_uniforms


@dataclass(frozen=True)
class Placement:
    """Where a view is cut and whether it is mirrored, whatever the size of the picture."""

    top: int
    """First row, in the view's unit: map cells on the canvas, parts of the room that the box has in native views."""
    left: int
    """First column, in the unit of `top`."""
    flip: bool
    """Whether left and right are exchanged, in image and map."""


class View(Protocol):
    """Cuts an image and its map: pixels are first framed, then cut."""

    @property
    def crop_px(self) -> int:
        """Side of the image that comes out."""

    @property
    def crop_cells(self) -> int:
        """Side of the map that comes out."""

    def centre(self) -> Placement:
        """The box in the middle, not mirrored: what evaluation sees."""

    def random(self, seed: int, epoch: int, key: str, *, flip: bool) -> Placement:
        """A uniformly drawn box, mirrored in half of the cases if `flip`: a function of its arguments alone."""

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        """The array to cut from, (height, width, 3), uint8, made from a picture's pixels, (height, width, 3), uint8."""

    def cut_image(self, frame: np.ndarray, at: Placement) -> np.ndarray:
        """Cut a frame: (crop_px, crop_px, 3), uint8."""

    def cut_map(self, lare_map: np.ndarray, at: Placement) -> np.ndarray:
        """Cut a map (channels, h, w), float, to (channels, crop_cells, crop_cells), float."""


@dataclass(frozen=True)
class CanvasView:
    """One square box of the canvas and of the map that lies over it: a pixel and its cell stay together exactly.

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
        check_grid(self.canvas_px, self.map_cells, self.crop_px)

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
        top, left, side, _ = seeded_uniforms("canvas", seed, epoch, key)
        places = self.map_cells - self.crop_cells + 1
        return Placement(int(top * places), int(left * places), flip=flip and side < 0.5)

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        """The canvas of a picture (height, width, 3): (canvas_px, canvas_px, 3), uint8."""
        return to_canvas(pixels, self.canvas_px)

    def cut_image(self, frame: np.ndarray, at: Placement) -> np.ndarray:
        """Cut the canvas.

        Args:
            frame: (canvas_px, canvas_px, 3), uint8.
            at: Where, in map cells.

        Returns:
            (crop_px, crop_px, 3), uint8; a view if it is not mirrored.
        """
        y, x = at.top * self.stride, at.left * self.stride
        return mirrored_pixels(frame[y : y + self.crop_px, x : x + self.crop_px], at.flip)

    def cut_map(self, lare_map: np.ndarray, at: Placement) -> np.ndarray:
        """Cut the map by the same box.

        Args:
            lare_map: (channels, map_cells, map_cells), float.
            at: Where, in map cells.

        Returns:
            (channels, crop_cells, crop_cells), same dtype.
        """
        cells = self.crop_cells
        return mirrored(lare_map[:, at.top : at.top + cells, at.left : at.left + cells], at.flip)


def check_grid(canvas_px: int, map_cells: int, crop_px: int) -> None:
    """Raise ValueError if map cells do not lie on whole pixels of the canvas, or the box not on whole cells."""
    if canvas_px % map_cells:
        raise ValueError(f"a map of {map_cells} cells does not divide a canvas of {canvas_px} px")
    stride = canvas_px // map_cells
    if not 0 < crop_px <= canvas_px or crop_px % stride:
        raise ValueError(
            f"crop_px is {crop_px}: expected a multiple of the latent stride, {stride} px, of at most "
            f"{canvas_px} px (the canvas of this cache)"
        )


def mirrored_pixels(pixels: np.ndarray, flip: bool) -> np.ndarray:
    """The pixels, (h, w, 3), uint8, with left and right exchanged if `flip`."""
    if not flip:
        return pixels
    # numpy would go pixel by pixel, ten times as long; torch takes many at a time, of memory that could be written.
    return torch.from_numpy(np.require(pixels, requirements="W")).flip(1).numpy()


def mirrored(array: np.ndarray, flip: bool) -> np.ndarray:
    """The map, (…, h, w), with left and right exchanged if `flip`."""
    return array[..., ::-1] if flip else array
