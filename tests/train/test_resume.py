"""Stopping and going on: the batches of an interrupted run are those of one that ran through."""

import gc
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cache_schema import Cache, Dataset
from tests.train.packed import extract, module, pack
from tests.train.test_data import on_rank
from train.augment import ImageChanges
from train.data import LareDataModule

Batch = dict[str, Tensor]
CHANGES = ImageChanges(jpeg_probability=0.5, blur_probability=0.5)
NUM_EPOCHS, NUM_STEPS = 2, 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pack(tmp_path_factory.mktemp("packed") / "data")


@pytest.fixture(scope="module")
def cache(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return extract(dataset, tmp_path_factory.mktemp("cache") / "t200")


def assert_same(batches: list[Batch], others: list[Batch]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys() and all(torch.equal(batch[name], other[name]) for name in batch)


def train(data: LareDataModule, first_epoch: int = 0) -> Iterator[Batch]:
    """Batches in Lightning's order of calls: iter() first, then set_epoch(), then the batches."""
    loader = data.train_dataloader()
    for epoch in range(first_epoch, NUM_EPOCHS):
        iterator = iter(loader)
        loader.set_epoch(epoch)
        yield from iterator


@pytest.fixture(scope="module")
def whole(dataset: Dataset, cache: Cache) -> list[Batch]:
    batches = list(train(module(dataset, cache, changes=CHANGES)))
    assert len(batches) == NUM_EPOCHS * NUM_STEPS
    return batches


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 5), (5, 2), (4, 3), (8, 2)])
def test_stopped_twice_and_resumed_with_other_workers(
    dataset: Dataset, cache: Cache, whole: list[Batch], first: int, second: int
) -> None:
    taken: list[Batch] = []
    state: dict[str, Any] = {}
    for num_steps, workers in ((first, {"num_workers": 0}), (second, {"num_workers": 2}), (None, {"num_workers": 1})):
        data = module(dataset, cache, changes=CHANGES, **workers)
        if state:
            data.load_state_dict(pickle.loads(pickle.dumps(state)))
        batches = train(data, len(taken) // NUM_STEPS)
        taken += list(batches) if num_steps is None else [next(batches) for _ in range(num_steps)]
        data.teardown("fit")
        state = data.state_dict()
    assert_same(taken, whole)


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_resumed_with_workers_of_every_start_method(
    dataset: Dataset, cache: Cache, whole: list[Batch], start_method: str
) -> None:
    data = module(dataset, cache, changes=CHANGES)
    batches = train(data)
    taken = [next(batches) for _ in range(4)]
    resumed = module(dataset, cache, changes=CHANGES, num_workers=2, start_method=start_method)
    resumed.load_state_dict(data.state_dict())
    assert_same(taken + list(train(resumed)), whole)
    resumed.teardown("fit")


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_rank_resumes_its_own_batches(dataset: Dataset, cache: Cache, ranks: int) -> None:
    for rank in range(ranks):
        through = list(train(on_rank(module(dataset, cache), rank, ranks)))
        data = on_rank(module(dataset, cache), rank, ranks)
        batches = train(data)
        taken = [next(batches)]
        resumed = on_rank(module(dataset, cache), rank, ranks)
        resumed.load_state_dict(data.state_dict())
        assert_same(taken + list(train(resumed)), through)


def test_resume_on_another_number_of_ranks_is_refused(dataset: Dataset, cache: Cache) -> None:
    data = on_rank(module(dataset, cache), 0, 2)
    next(train(data))
    for ranks in (1, 3):
        other = on_rank(module(dataset, cache), 0, ranks)
        other.load_state_dict(data.state_dict())
        with pytest.raises(ValueError, match=rf"another plan \(ranks: 2 → {ranks}\).*Resume with the settings"):
            other.train_dataloader()


def test_image_that_is_cut_short_after_packing_is_named(tmp_path: Path) -> None:
    dataset = pack(tmp_path / "data", validation=0, test=0, controls=0)
    data = module(dataset, extract(dataset, tmp_path / "cache"))
    loader = data.train_dataloader()
    tar = dataset.tar_path(1)
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(Exception, match=r"train-000001.tar ends inside an image: .* The tar was cut short"):
        list(loader)
    tar.unlink()
    with pytest.raises(Exception, match=r"train-000001.tar is missing, but the index lists it"):
        list(module(dataset, data.join.caches[0]).train_dataloader())


def test_tar_is_opened_once_and_closed_with_its_block(dataset: Dataset, cache: Cache) -> None:
    def descriptors() -> int:
        return sum(1 for path in Path("/proc/self/fd").iterdir() if path.resolve().suffix == ".tar")

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    gc.collect()  # what other tests have left
    before = descriptors()
    data = module(dataset, cache)
    most = max(descriptors() for _ in data.train_dataloader()) - before
    assert 1 <= most <= data.block_tars
    data.teardown("fit")
    assert descriptors() == before
