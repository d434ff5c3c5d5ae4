"""Views of a picture at its own size: a box of its pixels, with the whole map or with the map sampled under the box."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.ops import roi_align  # type: ignore[import-untyped]

from cache_schema import DatasetError, check_least
from train.data.plan import seeded_uniforms
from train.data.views import CanvasView, Placement, View, check_grid, mirrored, mirrored_pixels

STEPS = 2**31
"""Distinct places between the first and the last position of a box, along each axis."""


class _NativeView:
    """What both native views share: a box of the picture at its own size."""

    crop_px: int

    def centre(self) -> Placement:
        """The box in the middle; with an odd number of pixels left over, half a pixel up and left of it."""
        middle = STEPS // 2 - 1
        return Placement(middle, middle, flip=False)

    def random(self, seed: int, epoch: int, key: str, *, flip: bool) -> Placement:
        """A uniformly drawn box, mirrored in half of the cases if `flip`: a function of its arguments alone."""
        top, left, side, _ = seeded_uniforms("native", seed, epoch, key)
        return Placement(int(top * STEPS), int(left * STEPS), flip=flip and side < 0.5)

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        """The picture at its own size, (height, width, 3), uint8: as it is."""
        return pixels

    def cut_image(self, frame: np.ndarray, at: Placement) -> np.ndarray:
        """Cut the picture; one that is smaller than the box is put into the middle of black.

        Args:
            frame: (height, width, 3), uint8.
            at: Where, in `STEPS` parts of the room.

        Returns:
            (crop_px, crop_px, 3), uint8.
        """
        missing = [max(0, self.crop_px - side) for side in frame.shape[:2]]
        if any(missing):
            frame = np.pad(frame, [(m // 2, m - m // 2) for m in missing] + [(0, 0)])
        y, x = self._corner(frame.shape[0], frame.shape[1], at)
        return mirrored_pixels(frame[y : y + self.crop_px, x : x + self.crop_px], at.flip)

    def _corner(self, height: int, width: int, at: Placement) -> tuple[int, int]:
        """First row and column of the box, in px."""
        return (
            at.top * (height - self.crop_px + 1) // STEPS,
            at.left * (width - self.crop_px + 1) // STEPS,
        )


@dataclass(frozen=True)
class WholeMapView(_NativeView):
    """A box of the picture at its own size, with the whole map: the authors' way (`alignment: whole`).

    Image and map are not aligned, although the classifier fuses them by position.

    Attributes:
        map_cells: Side of the map.
        crop_px: Side of the box.

    Raises:
        ValueError: If the box has no pixels.
    """

    map_cells: int
    crop_px: int

    def __post_init__(self) -> None:
        """Check the box."""
        check_least("crop_px", self.crop_px, 1)

    @property
    def crop_cells(self) -> int:
        """Side of the map."""
        return self.map_cells

    def cut_map(self, lare_map: np.ndarray, at: Placement) -> np.ndarray:
        """The whole map, (channels, map_cells, map_cells), same dtype; only mirrored with its image."""
        return mirrored(lare_map, at.flip)


@dataclass(frozen=True)
class SampledMapView(_NativeView):
    """A box of the picture at its own size, with the map interpolated under it (`alignment: crop`).

    For pictures of one size only: the box covers more of a small picture's map than of a large one's, so that the
    smoothness of the sampled map would tell the size. The box has as many cells as a box of the canvas of its side.

    Attributes:
        canvas_px: Side of the canvas that the map was extracted from.
        map_cells: Side of the map.
        crop_px: Side of the box.
        image_px: Height and width of all pictures.

    Raises:
        ValueError: If the pictures are smaller than the box, or the sizes do not fit as in `CanvasView`.
    """

    canvas_px: int
    map_cells: int
    crop_px: int
    image_px: tuple[int, int]

    def __post_init__(self) -> None:
        """Check that the sizes fit."""
        check_grid(self.canvas_px, self.map_cells, self.crop_px)
        if min(self.image_px) < self.crop_px:
            height, width = self.image_px
            raise ValueError(
                f"crop_px is {self.crop_px}, the images have {width} × {height} px: the padding has no map. "
                "Lower crop_px, or use view canvas."
            )

    @property
    def crop_cells(self) -> int:
        """Side of the map that comes out."""
        return self.crop_px * self.map_cells // self.canvas_px

    @property
    def samples_a_cell(self) -> int:
        """Points a side that are averaged for a cell: as many as map cells lie under it, and one on larger pictures.

        One point is the cell's middle, so that a box on the grid of a picture of the canvas's size is cut exactly.
        """
        return max(1, math.ceil(self.canvas_px / min(self.image_px) - 1e-6))

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        """The picture at its own size, (height, width, 3), uint8: as it is.

        Raises:
            DatasetError: If that is not the one size.
        """
        height, width = self.image_px
        if pixels.shape[:2] != self.image_px:
            raise DatasetError(
                f"an image decodes to {pixels.shape[1]} × {pixels.shape[0]} px where the index says "
                f"{width} × {height}: its EXIF data turn it. Use view canvas."
            )
        return pixels

    def cut_map(self, lare_map: np.ndarray, at: Placement) -> np.ndarray:
        """Interpolate the map under the box (`torchvision.ops.roi_align`, aligned).

        Args:
            lare_map: (channels, map_cells, map_cells), float.
            at: Where, in `STEPS` parts of the room.

        Returns:
            (channels, crop_cells, crop_cells), float32.
        """
        height, width = self.image_px
        y, x = self._corner(height, width, at)
        corners = np.array([x, y, x + self.crop_px, y + self.crop_px], dtype=np.float64)
        box = torch.from_numpy(corners * self.map_cells / [width, height, width, height]).float()
        maps = torch.from_numpy(np.array(lare_map[None], dtype=np.float32))
        sampled = roi_align(maps, [box[None]], self.crop_cells, sampling_ratio=self.samples_a_cell, aligned=True)
        return mirrored(sampled[0].numpy(), at.flip)


def only_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The one (height, width) of all images that are to be seen through a `SampledMapView`.

    Raises:
        ValueError: If they have several sizes.
    """
    if len(sizes) > 1:
        examples = " and ".join(f"{width} × {height} px" for height, width in sizes[:2])
        raise ValueError(
            f"view native with alignment crop needs images of one size. These have {len(sizes)} sizes, such as "
            f"{examples}. The smoothness of the sampled map would tell the image size, and with it the source. Use "
            "view canvas."
        )
    return sizes[0]


def check_view(view: str, alignment: str | None) -> None:
    """Check the name of a view and of the alignment that goes with it.

    Raises:
        ValueError: If the view is unknown, or the alignment does not belong to it.
    """
    if view not in ("canvas", "native"):
        raise ValueError(f"view is {view!r}: expected 'canvas' or 'native'")
    if view == "canvas" and alignment is not None:
        raise ValueError(f"alignment is {alignment!r}: view canvas is always aligned, leave it out (null)")
    if view == "native" and alignment not in ("whole", "crop"):
        raise ValueError(
            f"alignment is {alignment!r}: view native needs 'whole' (the whole map, which the crop does not match: "
            "the authors' way) or 'crop' (the map sampled under the crop, for images of one size)"
        )


def make_view(
    view: str,
    alignment: str | None,
    crop_px: int,
    *,
    canvas_px: int,
    map_cells: int,
    image_px: Callable[[], tuple[int, int]],
) -> View:
    """The view by its name.

    Args:
        view: `canvas` or `native`.
        alignment: Of view native, `whole` or `crop`.
        crop_px: Side of the box.
        canvas_px: Side of the canvas under the maps.
        map_cells: Side of the maps.
        image_px: Gives height and width of all pictures, where the map is sampled under the box.

    Raises:
        ValueError: If the view is unknown, or the sizes do not fit.
    """
    check_view(view, alignment)
    if view == "canvas":
        return CanvasView(canvas_px, map_cells, crop_px)
    if alignment == "whole":
        return WholeMapView(map_cells, crop_px)
    return SampledMapView(canvas_px, map_cells, crop_px, image_px())
