"""Views and image changes through the datamodule: settings, determinism, and what stays as it was."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ImageFilter
from torch import Tensor

from cache_schema import Cache, Dataset, decode_image, read_image_bytes, write_dataset
from tests.samples import make_sample
from tests.train.packed import cell_means, extract, module, pack
from train.data.augment import ImageChanges

ALL_CHANGES = ImageChanges(jpeg_probability=0.7, blur_probability=0.7, color_probability=0.7)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pack(tmp_path_factory.mktemp("packed") / "data")


@pytest.fixture(scope="module")
def cache(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return extract(dataset, tmp_path_factory.mktemp("cache") / "t200")


def by_row(batches: Any, name: str) -> dict[int, Tensor]:
    return {row: value for b in batches for row, value in zip(b["row"].tolist(), b[name], strict=True)}


def same(one: dict[int, Tensor], other: dict[int, Tensor]) -> list[bool]:
    assert one.keys() == other.keys()
    return [torch.equal(one[row], other[row]) for row in one]


# Changes of the image alone


def test_changes_leave_maps_order_boxes_and_evaluation_alone(dataset: Dataset, cache: Cache) -> None:
    plain, changed = (module(dataset, cache, changes=c) for c in (ImageChanges(), ALL_CHANGES))
    mine, theirs = list(plain.train_dataloader()), list(changed.train_dataloader())
    assert [b["row"].tolist() for b in mine] == [b["row"].tolist() for b in theirs]
    assert all(same(by_row(mine, "lare"), by_row(theirs, "lare")))
    assert sum(same(by_row(mine, "image"), by_row(theirs, "image"))) < len(by_row(mine, "image")) / 4
    for loader in ("val_dataloader", "test_dataloader"):
        assert all(same(by_row(getattr(plain, loader)(), "image"), by_row(getattr(changed, loader)(), "image")))


def test_changes_that_are_off_leave_every_bit(dataset: Dataset, cache: Cache) -> None:
    off = ImageChanges(jpeg_quality=(1, 5), blur_sigma=(9, 9), brightness=1.0)
    plain, other = (module(dataset, cache, **settings).train_dataloader() for settings in ({}, {"changes": off}))
    assert all(same(by_row(plain, "image"), by_row(other, "image")))


def test_changes_are_drawn_anew_each_epoch_and_do_not_depend_on_workers(dataset: Dataset, cache: Cache) -> None:
    epochs = []
    for num_workers in (0, 2):
        data = module(dataset, cache, changes=ALL_CHANGES, num_workers=num_workers, crop_px=16, flip=False)
        loader = data.train_dataloader()
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            epochs.append(by_row(loader, "image"))
        data.teardown("fit")
    assert all(same(epochs[0], epochs[2])) and all(same(epochs[1], epochs[3]))
    both = epochs[0].keys() & epochs[1].keys()
    assert sum(torch.equal(epochs[0][row], epochs[1][row]) for row in both) < len(both) / 4


@pytest.mark.parametrize("view", [{"view": "canvas"}, {"view": "native", "alignment": "whole"}])
def test_pictures_are_changed_at_their_own_size(tmp_path: Path, view: dict[str, Any]) -> None:
    # On the canvas, the same blocks of JPEG would lie in every crop at the same places, and at no real file's size.
    dataset = write_dataset(tmp_path / "data", [make_sample(i, size_px=53) for i in range(6)], {}, max_rows=6)
    changes = ImageChanges(jpeg_probability=1.0, jpeg_quality=(30, 30), blur_probability=1.0, blur_sigma=(1.5, 1.5))
    data = module(
        dataset, extract(dataset, tmp_path / "cache"), changes=changes, flip=False, seed=4, crop_px=12, **view
    )
    cut = data.make_view(data._split_samples("train"))
    keys, rows = dataset.rows(0)["key"].to_pylist(), dataset.rows(0)
    for row, image in by_row(data.train_dataloader(), "image").items():
        read = read_image_bytes(dataset.tar_path(0), rows["offset"][row].as_py(), rows["size"][row].as_py())
        buffer = io.BytesIO()
        blurred = decode_image(read).filter(ImageFilter.GaussianBlur(1.5))
        blurred.save(buffer, "JPEG", quality=30, subsampling="4:2:0")
        expected = cut.frame(np.asarray(decode_image(buffer.getvalue())))
        expected = cut.cut_image(expected, cut.random(4, 0, keys[row], flip=False))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


# Views


def test_native_view_of_images_as_large_as_the_canvas_takes_their_pixels(dataset: Dataset, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", [make_sample(i) for i in range(12)], {}, max_rows=6)
    cache = extract(dataset, tmp_path / "cache")
    boxes = module(dataset, cache, view="native", alignment="crop", crop_px=12, batch_size=1)
    correlations = []
    for batch in boxes.train_dataloader():
        assert batch["image"].shape == (1, 3, 12, 12) and batch["lare"].shape == (1, 3, 6, 6)
        mine, theirs = cell_means(batch["image"][0].numpy()), batch["lare"][0].numpy()
        correlations.append(np.corrcoef(mine.ravel(), theirs.ravel())[0, 1])
    assert np.mean(correlations) > 0.5  # the images are noise, and half of the boxes lie between the cells
    whole = module(dataset, cache, view="native", alignment="whole", crop_px=16, batch_size=1)
    for batch in whole.train_dataloader():
        np.testing.assert_array_equal(cell_means(batch["image"][0].numpy()), batch["lare"][0].numpy())


def test_whole_map_goes_with_images_of_every_size(dataset: Dataset, cache: Cache) -> None:
    data = module(dataset, cache, view="native", alignment="whole", crop_px=17, flip=True)
    data.setup("fit")
    maps = by_row(module(dataset, cache, crop_px=16, flip=False).train_dataloader(), "lare")
    for batch in data.train_dataloader():
        assert batch["image"].shape == (3, 3, 17, 17)
        for row, lare in zip(batch["row"].tolist(), batch["lare"], strict=True):
            assert row not in maps or torch.equal(lare, maps[row]) or torch.equal(lare.flip(-1), maps[row])
    first, again = (by_row(data.test_dataloader(), "image") for _ in range(2))
    assert all(same(first, again))


def test_sampled_map_of_images_of_several_sizes_is_refused(dataset: Dataset, cache: Cache, tmp_path: Path) -> None:
    data = module(dataset, cache, view="native", alignment="crop")
    with pytest.raises(ValueError, match=r"These have 3 sizes, such as 16 × 16 px and 17 × 17 px. The smoothness"):
        data.setup("fit")
    # What is not used does not matter: all training samples have one size here, the test samples another.
    samples = [make_sample(i, split="test" if i > 9 else "train", size_px=20 if i > 9 else 17) for i in range(12)]
    several = write_dataset(tmp_path / "data", samples, {}, max_rows=6)
    data = module(several, extract(several, tmp_path / "cache"), view="native", alignment="crop")
    data.setup("fit")
    assert len(list(data.train_dataloader())) == 3
    assert next(iter(data.test_dataloader()))["lare"].shape == (2, 3, 6, 6)


def test_native_boxes_are_the_same_for_image_only_and_both(dataset: Dataset, cache: Cache) -> None:
    settings = {"view": "native", "alignment": "whole", "crop_px": 12}
    both, image_only, map_only = (
        module(dataset, cache, **settings, **only).train_dataloader()
        for only in ({}, {"maps": False}, {"images": False})
    )
    both = list(both)  # type: ignore[assignment]
    assert all(same(by_row(both, "image"), by_row(image_only, "image")))
    assert all(same(by_row(both, "lare"), by_row(map_only, "lare")))


# Variants


def test_variants_are_stacked_in_the_order_they_are_named(dataset: Dataset, cache: Cache, tmp_path: Path) -> None:
    def times(factor: int, name: str) -> Cache:
        return extract(
            dataset, tmp_path / name, lambda n, shard: replace(shard, lare=shard.lare * factor), timestep=factor
        )

    a, b, c = cache, times(2, "b"), times(3, "c")
    for order, factors in (((a, b, c), (1, 2, 3)), ((c, a, b), (3, 1, 2))):
        data = module(dataset, *order)
        assert data.map_channels == 9 and data.fingerprints == [one.fingerprint for one in order]
        for batch in data.train_dataloader():
            painted = torch.from_numpy(np.stack([cell_means(image) for image in batch["image"].numpy()]))
            torch.testing.assert_close(batch["lare"], torch.cat([painted * f for f in factors], dim=1))
