from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cache_schema import CacheError
from tests.train.data.test_datamodule import reject_row_2
from tests.train.packed import canvas_of, extract, pack
from train.commands.readings import compute_readings, write_readings
from train.scoring.readings import gradient_energy

COLUMNS = ["row", "key", "label", "image_source", "subset", "split", "group", "derived_from", "score"]


def test_readings_score_every_sample_of_a_split(tmp_path: Path) -> None:
    dataset = pack(tmp_path / "data")
    cache = extract(dataset, tmp_path / "cache")
    paths = write_readings(dataset.folder, cache.folder, "test", tmp_path / "out")
    assert {name: path.name for name, path in paths.items()} == {
        "mean_lare": "mean_lare.parquet",
        "gradient_energy": "gradient_energy.parquet",
    }
    for name, path in paths.items():
        table = pq.read_table(path)
        assert table.column_names == COLUMNS
        assert table["row"].to_pylist() == list(range(25, 33))
        index = dataset.table()
        for column in COLUMNS[1:-1]:
            assert table[column].to_pylist() == index[column].to_pylist()[25:]
        assert table["label"].to_pylist() == [1, 0, 1, 0, 1, 0, None, None]
        n = next(i for i, tar in enumerate(dataset.tars) if tar.name == "test-000000.tar")
        rows = dataset.rows(n)
        canvas = canvas_of(dataset, n, rows["offset"][0].as_py(), rows["size"][0].as_py())
        # The maps are the canvas's cell means, so their mean is that of the whole canvas.
        expected = {"mean_lare": -canvas.mean(), "gradient_energy": gradient_energy(canvas.transpose(1, 2, 0))}
        assert table["score"][0].as_py() == pytest.approx(expected[name], rel=1e-6)
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == []


def test_readings_leave_out_rejected_samples(tmp_path: Path) -> None:
    dataset = pack(tmp_path / "data")
    cache = extract(dataset, tmp_path / "cache", reject_row_2)
    table = compute_readings(dataset.folder, cache.folder, "train")["mean_lare"]
    assert table["row"].to_pylist() == [r for r in range(20) if r != 2]
    assert np.isfinite(table["score"].to_numpy()).all()


def test_readings_refuse_an_empty_split(tmp_path: Path) -> None:
    dataset = pack(tmp_path / "data", test=0, controls=0)
    cache = extract(dataset, tmp_path / "cache")
    with pytest.raises(CacheError, match="no usable samples in the split 'test'"):
        compute_readings(dataset.folder, cache.folder, "test")
