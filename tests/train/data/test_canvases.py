"""Training from stored canvases: the batches of the originals, to the bit, and a sentence for what does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache_schema import (
    Cache,
    CacheError,
    Dataset,
    DatasetError,
    FingerprintMismatch,
    ShardCorrupt,
    ShardMissing,
    ShardStale,
    open_cache,
)
from extract.__main__ import main
from tests.cache_schema.conftest import rewrite
from tests.samples import make_sample
from tests.train.packed import CANVAS_PX, extract, module, pack
from train.data import loader
from train.data.augment import ImageChanges
from train.data.join import Join

FIRST = "train-000000.zarr.zip"


def write_canvases(dataset: Dataset, folder: Path, size: int = CANVAS_PX) -> Cache:
    options = ["--data", str(dataset.folder), "--cache", str(folder), "--image_size", str(size), "--num_workers", "1"]
    assert main(["canvases", *options]) == 0
    return open_cache(folder)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pack(tmp_path_factory.mktemp("packed") / "data")


@pytest.fixture(scope="module")
def cache(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return extract(dataset, tmp_path_factory.mktemp("cache") / "t200")


@pytest.fixture
def canvases(dataset: Dataset, tmp_path: Path) -> Cache:
    return write_canvases(dataset, tmp_path / "canvas-16")


def all_batches(data: Any, epoch: int = 1) -> list[dict[str, torch.Tensor]]:
    train = data.train_dataloader()
    train.set_epoch(epoch)
    return [*train, *data.val_dataloader(), *data.test_dataloader()]


def assert_same(ours: list[dict[str, torch.Tensor]], theirs: list[dict[str, torch.Tensor]]) -> None:
    assert len(ours) == len(theirs) > 5
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), name


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the images whose files were read."""
    keys: list[str] = []
    read = loader.load_pixels

    def load_pixels(tar: Any, row: int) -> np.ndarray:
        keys.append(tar.keys[row])
        return read(tar, row)

    monkeypatch.setattr(loader, "load_pixels", load_pixels)
    return keys


def test_batches_are_those_of_the_originals_which_are_not_read(
    dataset: Dataset, cache: Cache, canvases: Cache, opened: list[str]
) -> None:
    ours = all_batches(module(dataset, cache, canvases=str(canvases.folder)))
    assert opened == []
    assert_same(ours, all_batches(module(dataset, cache)))
    assert len(opened) > 20


@pytest.mark.slow
def test_workers_read_the_same(dataset: Dataset, cache: Cache, canvases: Cache) -> None:
    settings = {"canvases": str(canvases.folder)}
    data = module(dataset, cache, num_workers=2, **settings)
    assert_same(all_batches(data), all_batches(module(dataset, cache, **settings)))
    data.teardown("fit")


def test_images_that_are_changed_come_from_their_files(
    dataset: Dataset, cache: Cache, canvases: Cache, opened: list[str]
) -> None:
    """JPEG and blur change a picture at its own size, which a canvas no longer has."""
    changes = ImageChanges(jpeg_probability=0.4, blur_probability=0.2)
    ours = all_batches(module(dataset, cache, canvases=str(canvases.folder), changes=changes))
    changed, all_keys = list(opened), set(dataset.table(["key"])["key"].to_pylist())
    assert_same(ours, all_batches(module(dataset, cache, changes=changes)))
    assert 3 < len(changed) < 18 and set(changed) < all_keys
    assert sorted(changed) == sorted(key for key in changed if changes.changes(0, 1, key))


def test_training_needs_no_tars_once_there_are_canvases(
    cache: Cache, canvases: Cache, dataset: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("index.parquet", "dataset.json"):
        (folder / name).write_bytes((dataset.folder / name).read_bytes())
    ours = all_batches(module(Dataset.open(folder), cache, canvases=str(canvases.folder)))
    assert_same(ours, all_batches(module(dataset, cache)))


def test_view_native_is_refused(dataset: Dataset, cache: Cache, canvases: Cache) -> None:
    with pytest.raises(ValueError, match=r"Leave data\.canvases out, or use view canvas"):
        module(dataset, cache, canvases=str(canvases.folder), view="native", alignment="whole")


def test_canvases_of_another_size_or_dataset_are_refused(dataset: Dataset, cache: Cache, tmp_path: Path) -> None:
    other = write_canvases(dataset, tmp_path / "canvas-32", 32)
    with pytest.raises(FingerprintMismatch, match=r"image_size is 32, .* has 16"):
        module(dataset, cache, canvases=str(other.folder)).setup("fit")
    strangers = pack(tmp_path / "strangers", train=8)
    theirs = write_canvases(strangers, tmp_path / "theirs")
    with pytest.raises(DatasetError, match="belongs to dataset"):
        module(dataset, cache, canvases=str(theirs.folder)).setup("fit")


def test_maps_in_the_place_of_canvases_are_refused_and_the_other_way_round(
    dataset: Dataset, cache: Cache, canvases: Cache
) -> None:
    with pytest.raises(CacheError, match="holds maps, not canvases"):
        module(dataset, cache, canvases=str(cache.folder)).setup("fit")
    with pytest.raises(CacheError, match="holds canvases, not maps"):
        module(dataset, canvases).setup("fit")


def test_missing_canvases_are_told_before_the_first_batch(dataset: Dataset, cache: Cache, canvases: Cache) -> None:
    (canvases.folder / "train-000001.zarr.zip").unlink()
    with pytest.raises(ShardMissing, match=r"make canvases DATA=.* SHARD=1 ARGS='--image_size 16'"):
        module(dataset, cache, canvases=str(canvases.folder)).setup("fit")


def test_canvases_of_other_rows_are_stale(dataset: Dataset, cache: Cache, canvases: Cache) -> None:
    path = canvases.folder / FIRST
    path.write_bytes((canvases.folder / "train-000001.zarr.zip").read_bytes())
    data = module(dataset, cache, canvases=str(canvases.folder))
    with pytest.raises(ShardStale, match="the index"):
        all_batches(data)


def test_a_flipped_bit_stops_training(dataset: Dataset, cache: Cache, canvases: Cache) -> None:
    def flip(entries: dict[str, bytes]) -> None:
        data = bytearray(entries["canvas/c/2/0/0/0"])
        data[-9] ^= 1
        entries["canvas/c/2/0/0/0"] = bytes(data)

    rewrite(canvases.folder / FIRST, flip)
    with pytest.raises(ShardCorrupt, match="canvas/c/2/0/0/0 fails its checksum"):
        all_batches(module(dataset, cache, canvases=str(canvases.folder)))


def test_a_row_with_a_map_and_no_canvas_stops_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The versions that made the two differ: one could read the picture."""
    dataset = pack(tmp_path / "data", train=8)
    cache = extract(dataset, tmp_path / "cache")
    from extract.run import canvases as making

    decode = making.decode_image
    picture = make_sample(2, size_px=CANVAS_PX + 2).image

    def refuse(data: bytes) -> Any:
        if data == picture:
            raise making.ImageRejected(making.Status.UNREADABLE, "a test")
        return decode(data)

    monkeypatch.setattr(making, "decode_image", refuse)
    options = ["--data", str(dataset.folder), "--cache", str(tmp_path / "c"), "--image_size", str(CANVAS_PX)]
    assert main(["canvases", *options, "--num_workers", "1", "--max_reject_fraction", "1"]) == 0
    with pytest.raises(DatasetError, match="has a map and no canvas"):
        all_batches(module(dataset, cache, canvases=str(tmp_path / "c"), batch_size=1))


def test_open_files_end_with_their_tars(dataset: Dataset, cache: Cache, canvases: Cache) -> None:
    join = Join.open(dataset.folder, [cache.folder], canvases.folder)
    tar = join.load_tar(0, maps=False)
    store = tar.canvases
    assert store is not None and store.read(0).shape == (CANVAS_PX, CANVAS_PX, 3)
    assert join.load_tar(0, maps=True, images=False).canvases is None
    del tar
    with pytest.raises(CacheError):
        store.read(0)
