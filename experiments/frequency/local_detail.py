"""How much detail an image has in each cell of its map, and how the map follows it within one image."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]
from scipy.stats import rankdata  # type: ignore[import-untyped]

from experiments.frequency.telling import BLUR_SIGMA_PX, MEASURES
from train.data.join import Join
from train.data.joined_tar import load_canvas
from train.data.samples import select_samples
from train.scoring.intervals import Ends, mean_interval
from train.scoring.readings import LUMA

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """Of the maps of an image source with one measure of local detail: mean over images of the rank correlation."""

    mean: float
    interval: Ends | None
    n_groups: int
    n: int
    """Images; those without any detail or with one error everywhere have no correlation."""


def local_energies(canvas: NDArray[np.uint8], grid: tuple[int, int]) -> Floats:
    """Detail of a canvas below each cell of its map.

    Args:
        canvas: (S, S, 3), uint8.
        grid: Height and width of the map, which divide S.

    Returns:
        One map for each of `MEASURES`, (2, height, width), mean over a cell's pixels, luma in [0, 1].
    """
    luma = canvas @ LUMA / 255
    # A picture's last row and column have no neighbour: no difference there.
    across = np.diff(luma, axis=1, append=luma[:, -1:])
    down = np.diff(luma, axis=0, append=luma[-1:])
    fine = luma - gaussian_filter(luma, BLUR_SIGMA_PX, mode="reflect")
    energies = np.stack([across**2 + down**2, fine**2])
    height, width = grid
    cells = energies.reshape(2, height, len(luma) // height, width, luma.shape[1] // width)
    means: Floats = cells.mean(axis=(2, 4))
    return means


def correlate_ranks(ours: Floats, theirs: Floats) -> Floats:
    """Spearman's correlation of each row with the other's, (n,), of (n, cells); NaN where a row is constant."""
    one, other = (rankdata(rows, axis=1) for rows in (ours, theirs))
    one, other = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, other))
    with np.errstate(invalid="ignore"):  # 0 / 0
        correlations: Floats = (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return correlations


def correlate_cells(data: Path, cache: Path, table: pa.Table) -> dict[str, Floats]:
    """Each measure of local detail → its rank correlation with the map over an image's cells, (samples,).

    Args:
        data: Dataset folder.
        cache: Cache folder.
        table: `key` of all test samples that have a map.
    """
    join = Join.open(data, [cache])
    samples = select_samples(join, "test", controls=True)
    assert join.dataset.table(["key"])["key"].take(samples.rows) == table["key"]
    found: dict[str, list[Floats]] = {name: [] for name in MEASURES}
    for n in np.flatnonzero(samples.counts).tolist():
        tar, rows = join.load_tar(n, maps=True), samples.of_tar(n)
        assert tar.lare is not None
        maps = tar.lare[rows].mean(axis=1, dtype=np.float64)
        energies = np.stack([local_energies(load_canvas(tar, row, join.canvas_px), maps.shape[1:]) for row in rows])
        for k, name in enumerate(MEASURES):
            found[name].append(correlate_ranks(maps.reshape(len(rows), -1), energies[:, k].reshape(len(rows), -1)))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def average_by_source(table: pa.Table, correlations: Mapping[str, Floats]) -> dict[str, dict[str, Correlation]]:
    """Measure → image source → mean over its images. A source without any correlation is left out."""
    sources, groups = (table[name].to_numpy() for name in ("image_source", "group"))
    result: dict[str, dict[str, Correlation]] = {}
    for name, values in correlations.items():
        result[name] = {}
        for source in sorted(set(sources)):
            chosen = (sources == source) & np.isfinite(values)
            if chosen.any():
                found = mean_interval(values[chosen], groups[chosen])
                result[name][source] = Correlation(found.value, found.interval, found.n_groups, int(chosen.sum()))
    return result
