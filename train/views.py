"""Geometry applied once to image and map together: what the classifier sees of a picture and of its map.

The canvas is here, the two native views are in `train.native_views`.

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
import pyarrow as pa
import torch
from PIL import Image

from cache_schema import resize_canvas
from train.plan import seeded_rng


@dataclass(frozen=True)
class Placement:
    """Where a view is cut and whether it is mirrored, whatever the size of the picture."""

    top: int
    """First row, in the view's unit: map cells on the canvas, parts of the room that the box has in native views."""
    left: int
    """First column, in the same unit."""
    flip: bool
    """Whether left and right are exchanged, in image and map."""


class View(Protocol):
    """Cuts an image and its map. A picture is first framed, then cut, so that its pixels can be changed in between."""

    @property
    def crop_px(self) -> int:
        """Side of the image that comes out."""

    @property
    def crop_cells(self) -> int:
        """Side of the map that comes out."""

    def centre(self) -> Placement:
        """The box in the middle, not mirrored: that of evaluation."""

    def random(self, seed: int, epoch: int, key: str, *, flip: bool) -> Placement:
        """A uniformly drawn box, mirrored in half of the cases if `flip`: a function of its arguments alone."""

    def frame(self, picture: Image.Image) -> np.ndarray:
        """What is cut from, (height, width, 3), uint8, of a picture in mode RGB."""

    def cut_image(self, frame: np.ndarray, at: Placement) -> np.ndarray:
        """Cut a frame: (3, crop_px, crop_px), uint8."""

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
        rng = seeded_rng("canvas", seed, epoch, key)
        top, left = rng.integers(0, self.map_cells - self.crop_cells, size=2, endpoint=True)
        return Placement(int(top), int(left), flip=bool(rng.integers(2)) and flip)

    def frame(self, picture: Image.Image) -> np.ndarray:
        """The canvas of a picture: (canvas_px, canvas_px, 3), uint8."""
        if picture.size == (self.canvas_px, self.canvas_px):
            return lend_pixels(picture)  # what resize_canvas does to it, without a copy
        return resize_canvas(picture, self.canvas_px)

    def cut_image(self, frame: np.ndarray, at: Placement) -> np.ndarray:
        """Cut the canvas.

        Args:
            frame: (canvas_px, canvas_px, 3), uint8.
            at: Where, in map cells.

        Returns:
            (3, crop_px, crop_px), uint8.
        """
        y, x = at.top * self.stride, at.left * self.stride
        return to_planes(frame[y : y + self.crop_px, x : x + self.crop_px], at.flip)

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


def lend_pixels(picture: Image.Image) -> np.ndarray:
    """The pixels of a picture in mode RGB, without a copy where Pillow can lend them: (height, width, 3), uint8.

    Pillow keeps four bytes a pixel; np.asarray would pack them into three, in chunks that are then joined.
    """
    if not hasattr(picture, "__arrow_c_array__"):  # Pillow 11.2 and older
        return np.asarray(picture)
    try:
        lent: np.ndarray = pa.array(picture).values.to_numpy()
    except ValueError:  # a large picture, which lies in several blocks of memory
        return np.asarray(picture)
    return lent.reshape(picture.height, picture.width, 4)[..., :3]


def to_planes(pixels: np.ndarray, flip: bool) -> np.ndarray:
    """Colour planes of pixels, mirrored if `flip`: (h, w, 3) → (3, h, w), uint8; a view if they are not mirrored."""
    planes = pixels.transpose(2, 0, 1)
    if not flip:
        return planes
    # numpy reverses a row byte by byte, which takes as long again as the copy; torch takes many at a time.
    return torch.from_numpy(np.array(planes, order="C")).flip(-1).numpy()


def mirrored(array: np.ndarray, flip: bool) -> np.ndarray:
    """The array, with its last axis reversed if `flip`."""
    return array[..., ::-1] if flip else array
