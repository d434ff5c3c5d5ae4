"""The readings that need no detector, computed from maps and images of a split and written as prediction files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cache_schema import CacheError, IndexView, new_opened
from train.data.join import Join
from train.data.joined_tar import load_canvas
from train.data.samples import select_samples
from train.scoring.prediction_file import COLUMNS
from train.scoring.readings import READINGS, gradient_energy, mean_lare


def compute_readings(data: str | Path, cache: str | Path, split: str) -> dict[str, pa.Table]:
    """Score every sample of a split that extraction did not reject, controls included.

    Args:
        data: Folder with dataset.json.
        cache: Cache folder.
        split: `train`, `validation` or `test`.

    Returns:
        Reading → table of `row` (int64, in the whole index), the index's `COLUMNS`, and `score` (float64), in the
        index's order. Whole maps and whole canvases, no crop.

    Raises:
        CacheError: If the dataset or a store cannot be used, or the split has no samples.
    """
    join = Join.open(data, [cache])
    samples = select_samples(join, split, controls=True)
    if not len(samples):
        raise CacheError(f"{data} has no usable samples in the split {split!r}: expected at least one to score")
    scores: dict[str, list[float]] = {reading: [] for reading in READINGS}
    for n in np.flatnonzero(samples.counts).tolist():
        tar, rows = join.load_tar(n, maps=True), samples.of_tar(n)
        assert tar.lare is not None
        scores["mean_lare"] += mean_lare(tar.lare[rows]).tolist()
        scores["gradient_energy"] += [gradient_energy(load_canvas(tar, row, join.canvas_px)) for row in rows]
    index = IndexView(join.dataset, COLUMNS).take(samples.rows).add_column(0, "row", pa.array(samples.rows, pa.int64()))
    return {name: index.append_column("score", pa.array(values, pa.float64())) for name, values in scores.items()}


def write_readings(data: str | Path, cache: str | Path, split: str, out_folder: str | Path) -> dict[str, Path]:
    """Write `<reading>.parquet` for each reading into a folder, in place of older ones.

    Args:
        data: Folder with dataset.json.
        cache: Cache folder.
        split: Split to score.
        out_folder: Made if it does not exist.

    Returns:
        Reading → file.

    Raises:
        CacheError: As `compute_readings`.
    """
    folder = Path(out_folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, table in compute_readings(data, cache, split).items():
        paths[name] = folder / f"{name}.parquet"
        with new_opened(paths[name]) as file:
            pq.write_table(table, file)
    return paths
