"""Controls of what the map adds are trained as they are scored: with maps that say nothing of the image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cache_schema import Cache, Dataset, write_dataset
from tests.samples import make_sample
from tests.train.packed import CANVAS_PX, cell_means, extract, module, pack
from train.data.map_controls import check_no_label

WHOLE = {"crop_px": CANVAS_PX, "flip": False}
"""Boxes of the whole canvas, so that a map is cut nowhere."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pack(tmp_path_factory.mktemp("packed") / "data")


@pytest.fixture(scope="module")
def cache(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return extract(dataset, tmp_path_factory.mktemp("cache") / "t200")


def load_splits(dataset: Dataset, cache: Cache, **settings: Any) -> list[dict[int, tuple[Tensor, Tensor]]]:
    """Of training, validation and test: row → image and map."""
    data = module(dataset, cache, **WHOLE, **settings)
    return [
        {row: (b["image"][i], b["lare"][i]) for b in loader for i, row in enumerate(b["row"].tolist())}
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    ]


def test_maps_are_permuted_within_each_split_of_a_fit(dataset: Dataset, cache: Cache) -> None:
    for split in load_splits(dataset, cache, permute_maps=True):
        own = {row: torch.from_numpy(cell_means(image.numpy())) for row, (image, _) in split.items()}
        # A training epoch leaves some samples out, whose maps others may get.
        donors = [[d for d in own if torch.equal(own[d], lare)] for _, lare in split.values()]
        assert sum(map(len, donors)) >= len(split) - 3
        assert all(row not in found for row, found in zip(split, donors, strict=True))


def test_permuted_maps_stay_in_their_split(dataset: Dataset, cache: Cache) -> None:
    own = load_splits(dataset, cache)
    permuted = load_splits(dataset, cache, permute_maps=True)
    for i, split in enumerate(permuted):
        elsewhere = [lare for k, other in enumerate(own) for _, lare in other.values() if k != i]
        assert not any(torch.equal(lare, other) for _, lare in split.values() for other in elsewhere)


def test_a_constant_map_is_the_mean_of_the_training_maps_everywhere(dataset: Dataset, cache: Cache) -> None:
    every = module(dataset, cache, **WHOLE, batch_size=20)
    expected = np.mean([b.numpy() for batch in every.train_dataloader() for b in batch["lare"]], axis=0)
    for split in load_splits(dataset, cache, constant_map=True):
        assert len(split) > 0
        for _, lare in split.values():
            np.testing.assert_allclose(lare.numpy(), expected, rtol=1e-5)


def test_a_constant_map_is_cut_and_mirrored_with_the_image(dataset: Dataset, cache: Cache) -> None:
    whole = next(iter(module(dataset, cache, **WHOLE, constant_map=True).val_dataloader()))["lare"][0]
    batch = next(iter(module(dataset, cache, constant_map=True).train_dataloader()))["lare"]
    parts = [whole[:, y : y + 6, x : x + 6] for y in range(3) for x in range(3)]
    assert all(any(torch.equal(one, m) for p in parts for m in (p, p.flip(2))) for one in batch)


def test_tars_of_one_class_are_refused(tmp_path: Path) -> None:
    samples = [make_sample(i, split="train", size_px=CANVAS_PX, label=int(i >= 30)) for i in range(60)]
    dataset = write_dataset(tmp_path / "data", samples, {"made_by": "a test"}, max_rows=30)
    cache = extract(dataset, tmp_path / "cache")
    with pytest.raises(ValueError, match="the map still tells the label"):
        module(dataset, cache, permute_maps=True).train_dataloader()
    module(dataset, cache, constant_map=True).train_dataloader()


def test_chance_is_not_taken_for_a_label_that_is_told() -> None:
    rng = np.random.default_rng(0)
    for n in (4, 50, 1000):
        for _ in range(100):
            labels = rng.integers(0, 2, n)
            check_no_label(labels, rng.permutation(labels))
    check_no_label(np.array([0, 1, -1, -1]), np.array([0, 1, 1, 0]))  # too few to tell
