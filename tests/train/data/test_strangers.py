"""Training and export read the stores of their dataset alone, whatever else lies in the cache folder."""

from pathlib import Path

import pytest

from tests.train.packed import extract, pack
from train.data.join import Join
from train.describing import _find_model


@pytest.mark.parametrize("name", ["AAA.zarr.zip", "test-000000 (1).zarr.zip", "test-000077.zarr.zip"])
def test_a_stranger_that_comes_first_is_not_read(tmp_path: Path, name: str) -> None:
    dataset = pack(tmp_path / "data")
    cache = extract(dataset, tmp_path / "cache")
    for path in cache.folder.glob("test-*"):
        path.unlink()
    (cache.folder / name).write_bytes(b"not a store")
    join = Join.open(dataset.folder, [cache.folder])
    assert join.load_map_shape() == (3, 8, 8)
    assert _find_model(cache, join).hub_id is None
