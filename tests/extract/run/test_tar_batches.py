"""One loader for all tars of a task: what is read, in which order, and what becomes of a tar that cannot be."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from cache_schema import Dataset, DatasetError, open_cache, read_image_bytes
from extract.run import tar_batches
from extract.run.images import RowSettings
from extract.run.tar_batches import TarBatches
from tests.extract.conftest import Run, pack

SETTINGS = RowSettings(image_size=16, latent_shape=(4, 2, 2), num_draws=1, noise_seed=5)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Tars of five, five and two rows."""
    return pack(tmp_path / "data", list(range(12)))


def batches_of(dataset: Dataset, num_workers: int) -> TarBatches:
    return TarBatches(dataset, dict.fromkeys(range(3), SETTINGS), 2, num_workers, pin_memory=False)


def keys_of(batches: TarBatches, n: int) -> list[str]:
    return [key for batch in batches.of(n) for key in batch.keys]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_image_is_read_once_whatever_the_workers(
    num_workers: int, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_read, num_bytes = multiprocessing.Value("q", 0), multiprocessing.Value("q", 0)

    def read(tar: Path, offset: int, size: int) -> bytes:
        with num_read.get_lock():
            num_read.value += 1
            num_bytes.value += size
        return read_image_bytes(tar, offset, size)

    monkeypatch.setattr(tar_batches, "read_image_bytes", read)
    with batches_of(dataset, num_workers) as batches:
        found = [keys_of(batches, n) for n in range(3)]
    assert found == [dataset.rows(n)["key"].to_pylist() for n in range(3)]
    sizes = [size for n in range(3) for size in dataset.rows(n)["size"].to_pylist()]
    assert (num_read.value, num_bytes.value) == (12, sum(sizes) + 12 * tar_batches.HEADER_BYTES)


def test_a_task_has_one_loader_for_all_its_tars(
    dataset: Dataset, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    start = DataLoader.__iter__

    def count(loader: DataLoader) -> Iterator:
        started.append(loader.num_workers)
        return start(loader)

    monkeypatch.setattr(DataLoader, "__iter__", count)
    assert run(num_workers=1) == 0
    assert started == [1] and len(open_cache(tmp_path / "cache").shards()) == 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_tars_that_nobody_asks_for_or_that_break_off_are_passed_over(num_workers: int, dataset: Dataset) -> None:
    with batches_of(dataset, num_workers) as batches:
        assert keys_of(batches, 2) == dataset.rows(2)["key"].to_pylist()
    with batches_of(dataset, num_workers) as batches:
        assert next(batches.of(0)).start == 0
        assert keys_of(batches, 1) == dataset.rows(1)["key"].to_pylist()
    with dataset.tar_path(1).open("r+b") as file:
        file.truncate(3000)
    with batches_of(dataset, num_workers) as batches:
        assert keys_of(batches, 0) == dataset.rows(0)["key"].to_pylist()
        with pytest.raises(DatasetError, match="ends inside an image"):
            keys_of(batches, 1)
        assert keys_of(batches, 2) == dataset.rows(2)["key"].to_pylist()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_tar_costs_no_other_its_maps(num_workers: int, dataset: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(cache=tmp_path / "whole") == 0
    row = dataset.rows(1).to_pylist()[1]
    with dataset.tar_path(1).open("r+b") as file:
        file.seek(row["offset"] + row["size"] - 1)
        file.write(b"\0")
    assert run(num_workers=num_workers, keep_going="true", batch_size=2) == 1
    whole, found = open_cache(tmp_path / "whole"), open_cache(tmp_path / "cache")
    assert found.shards() == ["train-000000.zarr.zip", "train-000002.zarr.zip"]
    for name in found.shards():
        np.testing.assert_allclose(found.read(name).lare, whole.read(name).lare, rtol=1e-4, atol=1e-6)
