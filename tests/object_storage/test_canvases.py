"""Canvases in a bucket: written with and without a model, read by training through copies, as on a disk."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Cache, Dataset, ObjectPath, ShardCorrupt, open_cache, open_canvases
from cache_schema.__main__ import main as cache_main
from extract.__main__ import main
from tests.object_storage.bucket import Bucket
from tests.object_storage.proxy import Proxy
from tests.object_storage.test_extraction import arguments, check_equal
from tests.object_storage.test_extraction import model as model
from tests.object_storage.test_extraction import packed as packed
from tests.train.data.test_canvases import all_batches, assert_same, write_canvases
from tests.train.packed import CANVAS_PX, extract, module, pack

Upload = Callable[[Path, ObjectPath], None]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return pack(tmp_path / "data")


def check_same_canvases(here: Cache, there: Cache) -> None:
    assert here.fingerprint == there.fingerprint
    assert here.shards() == there.shards() != []
    for name in here.shards():
        with closing(open_canvases(here, name)) as mine, closing(open_canvases(there, name)) as theirs:
            assert mine.keys == theirs.keys
            assert mine.status.tobytes() == theirs.status.tobytes()
            assert mine.image_sha256.tobytes() == theirs.image_sha256.tobytes()
            for row in range(len(mine.keys)):
                assert np.array_equal(mine.read(row), theirs.read(row))
            times = {"seconds", "seconds_reading", "provenance"}
            assert {k: v for k, v in mine.attributes.items() if k not in times} == {
                k: v for k, v in theirs.attributes.items() if k not in times
            }


@pytest.mark.parametrize("num_workers", [1, 2])
def test_canvases_without_a_model(
    num_workers: int, dataset: Dataset, root: ObjectPath, upload: Upload, proxied: Proxy, tmp_path: Path
) -> None:
    assert isinstance(dataset.folder, Path)
    here = write_canvases(dataset, tmp_path / "canvases")
    upload(dataset.folder, root / "data")
    proxied.requests.clear()
    settings = [f"--image_size={CANVAS_PX}", f"--num_workers={num_workers}"]
    command = ["canvases", f"--data={root / 'data'}", f"--cache={root / 'canvases'}", *settings]
    assert main(command) == 0
    check_same_canvases(here, open_cache(root / "canvases"))
    read = [request for request in proxied.requests if request.path.endswith(".tar")]
    places = [f"--data={root / 'data'}", f"--cache={root / 'canvases'}"]
    assert cache_main(["status", *places, "--check"]) == 0
    assert cache_main(["verify", *places, "--deep", "--num_workers=1"]) == 0
    assert len(read) == len(dataset.tars)  # one for each 8 MiB
    proxied.requests.clear()
    assert main(command) == 0  # nothing is left to do
    stored = [request for request in proxied.requests if request.method == "PUT" and request.path.endswith(".zip")]
    assert stored == []


def test_canvases_in_the_pass_that_makes_maps(
    packed: Dataset, root: ObjectPath, upload: Upload, model: Path, tmp_path: Path
) -> None:
    assert isinstance(packed.folder, Path)
    upload(packed.folder, root / "data")
    assert main(arguments(packed.folder, tmp_path / "cache", model, "--canvases=true")) == 0
    assert main(arguments(root / "data", root / "cache", model, "--canvases=true")) == 0
    check_equal(tmp_path / "cache", root / "cache")
    check_same_canvases(open_cache(tmp_path / "canvas-64"), open_cache(root / "canvas-64"))
    elsewhere = f"--canvas_folder={root / 'elsewhere'}"
    assert main(arguments(root / "data", root / "cache", model, "--canvases=true", elsewhere)) == 0
    check_same_canvases(open_cache(tmp_path / "canvas-64"), open_cache(root / "elsewhere"))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_reads_canvases_in_a_bucket_and_no_tar(
    num_workers: int, dataset: Dataset, root: ObjectPath, upload: Upload, proxied: Proxy, tmp_path: Path
) -> None:
    assert isinstance(dataset.folder, Path)
    cache, canvases = extract(dataset, tmp_path / "t200"), write_canvases(dataset, tmp_path / "canvases")
    for name, folder in (("data", dataset.folder), ("t200", cache.folder), ("canvases", canvases.folder)):
        assert isinstance(folder, Path)
        upload(folder, root / name)
    here = all_batches(module(dataset, cache, canvases=str(canvases.folder), num_workers=0))
    proxied.requests.clear()
    remote = Dataset.open(root / "data"), open_cache(root / "t200")
    there = all_batches(module(*remote, canvases=str(root / "canvases"), num_workers=num_workers))
    assert_same(here, there)
    assert not [request for request in proxied.requests if request.path.endswith(".tar")]


def test_a_damaged_copy_of_canvases_is_told_and_asked_for_anew(
    dataset: Dataset, root: ObjectPath, upload: Upload, bucket: Bucket, tmp_path: Path
) -> None:
    here = write_canvases(dataset, tmp_path / "canvases")
    assert isinstance(here.folder, Path)
    upload(here.folder, root / "canvases")
    there = open_cache(root / "canvases").with_copies()
    assert there.stores is not None
    name = there.shards()[0]
    copy = there.stores[name].copy
    with closing(open_canvases(there, name)) as store:
        data = copy.read_bytes()
        at = data.index(b"canvas/c/0/0/0/0") + 200
        with copy.open("r+b") as file:
            file.seek(at)
            file.write(bytes([data[at] ^ 1]))
        with pytest.raises(ShardCorrupt, match=f"{root}/canvases/{name} is damaged"):
            store.read(0)
    assert not copy.exists()
    with closing(open_canvases(there, name)) as store, closing(open_canvases(here, name)) as mine:
        assert np.array_equal(store.read(0), mine.read(0))
