"""How well the map that a view gives tells the size of a picture: measured on real images alone, without a detector."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.views.telling import CANVAS, CROP, WHOLE
from train.data.join import Join
from train.data.native_views import SampledMapView, WholeMapView
from train.data.samples import select_samples
from train.data.views import CanvasView
from train.scoring.intervals import Estimate, bounded_interval, count_groups, standard_error
from train.scoring.metrics import auroc
from train.scoring.weighted import METRICS, leave_out_metrics


@dataclass(frozen=True)
class SizeLeak:
    """How well the roughness of a map tells whether a real image is smaller than the median or not."""

    num_images: int
    """Real test images that are no smaller than the box."""
    aurocs: Mapping[str, Estimate]
    """View → chance that the smaller image has the rougher map."""


def measure_size_leak(join: Join, crop_px: int) -> SizeLeak | None:
    """How well the roughness of the map that a view gives tells the size of real test images.

    Args:
        join: Dataset and cache.
        crop_px: Side of the box. Smaller images are left out: there is no map under the padding.

    Returns:
        None where the images that are left have one size.
    """
    samples = select_samples(join, "test")
    index = join.dataset.table(["height", "width", "group"])
    sides = np.stack([index[name].to_numpy() for name in ("height", "width")], axis=1)[samples.rows]
    chosen = np.flatnonzero((samples.labels == 0) & (sides.min(axis=1) >= crop_px))
    is_smaller = find_smaller(sides[chosen].min(axis=1))
    if is_smaller is None:
        return None
    roughness = np.empty((3, len(chosen)))
    for n in np.unique(samples.tars[chosen]):
        maps = join.load_tar(int(n), maps=True).lare
        assert maps is not None
        for i in np.flatnonzero(samples.tars[chosen] == n):
            views = _build_views(join.canvas_px, maps.shape[2], crop_px, tuple(sides[chosen[i]].tolist()))
            lare_map = maps[samples.tar_rows[chosen[i]]]
            roughness[:, i] = [compute_roughness(view.cut_map(lare_map, view.centre())) for view in views]
    groups = index["group"].take(samples.rows[chosen]).to_numpy()
    labels = is_smaller.astype(np.int64)
    aurocs = {view: estimate_auroc(roughness[i], labels, groups) for i, view in enumerate((CANVAS, WHOLE, CROP))}
    return SizeLeak(len(chosen), aurocs)


def estimate_auroc(scores: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[np.generic]) -> Estimate:
    """AUROC with its interval, of (samples,) each."""
    value = auroc(torch.from_numpy(scores), torch.from_numpy(labels))
    left_out = leave_out_metrics(groups, labels, scores[None], scores[None] > 0)[METRICS.index("auroc")]
    n_groups = count_groups(groups, labels)
    return Estimate(value, bounded_interval(value, standard_error(left_out), n_groups), n_groups)


def _build_views(
    canvas_px: int, map_cells: int, crop_px: int, image_px: tuple[int, int]
) -> tuple[CanvasView, WholeMapView, SampledMapView]:
    """The views of an image of one size."""
    return (
        CanvasView(canvas_px, map_cells, crop_px),
        WholeMapView(map_cells, crop_px),
        SampledMapView(canvas_px, map_cells, crop_px, image_px),
    )


def find_smaller(sides: NDArray[np.integer]) -> NDArray[np.bool_] | None:
    """Which sides, (images,), are below the median, or at most the median where none is; None if all are equal."""
    if len(np.unique(sides)) < 2:
        return None
    below: NDArray[np.bool_] = sides < np.median(sides)
    return below if below.any() else sides <= np.median(sides)


def compute_roughness(lare_map: NDArray[np.floating]) -> float:
    """Mean difference of neighbouring cells over the mean, of a map (channels, h, w), >= 0."""
    values = lare_map.astype(np.float64)
    steps = [np.abs(np.diff(values, axis=axis)).mean() for axis in (1, 2)]
    return float(np.mean(steps) / values.mean())
