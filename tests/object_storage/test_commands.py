"""Commands around a cache in object storage: they tell what they tell of the same folders on a disk."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Cache, Dataset, ObjectPath, open_cache, store_name, write_dataset
from cache_schema.__main__ import main
from tests.cache_schema.conftest import fill_cache
from tests.object_storage.bucket import Bucket
from tests.object_storage.proxy import FAULTS, Proxy
from tests.samples import make_sample


@pytest.fixture
def cache(dataset: Dataset, tmp_path: Path) -> Cache:
    return fill_cache(tmp_path / "cache", dataset, stored_dtype="float32", mantissa_bits=23)


@pytest.fixture
def copied(
    dataset: Dataset, cache: Cache, root: ObjectPath, upload: Callable[[Path, ObjectPath], None]
) -> tuple[Dataset, Cache]:
    """Dataset and cache in the bucket, to the byte those on the disk."""
    assert isinstance(dataset.folder, Path)
    assert isinstance(cache.folder, Path)
    upload(dataset.folder, root / "data")
    upload(cache.folder, root / "cache")
    return Dataset.open(root / "data"), open_cache(root / "cache")


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str]:
    status = main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def places(dataset: Dataset, cache: Cache) -> tuple[str, ...]:
    return "--data", str(dataset.folder), "--cache", str(cache.folder)


@pytest.mark.parametrize("command", ["status", "verify", "verify --deep", "info"])
def test_commands_tell_the_same_of_a_bucket_as_of_a_disk(
    dataset: Dataset, cache: Cache, copied: tuple[Dataset, Cache], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    name, *options = command.split()

    def tell(dataset: Dataset, cache: Cache) -> list[str]:
        told = []
        calls = [[cache.folder], [dataset.folder], [cache.folder.parent]] if name == "info" else []
        options_of = [*places(dataset, cache), *options, *(["--num_workers", "1"] if name == "verify" else [])]
        for call in calls or [options_of]:
            status, text = run(capsys, name, *call)
            told.append(f"{status} {text}".replace(str(cache.folder.parent), "…"))
        return told

    here = [text for text in tell(dataset, cache)]
    there = tell(*copied)
    if name == "info":  # other folders lie beside them on the disk
        here[2], there[2] = "", there[2]
        assert "cache" in there[2] and "dataset" in there[2]
        there[2] = ""
    assert here == there
    assert here[0].startswith("0 ")


def test_damage_in_a_bucket_is_found(
    copied: tuple[Dataset, Cache], bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, cache = copied
    assert isinstance(cache.folder, ObjectPath)
    assert isinstance(dataset.folder, ObjectPath)
    names = [tar.name for tar in dataset.tars]
    stores = [f"{cache.folder.key}/{store_name(name)}" for name in names]
    tars = [f"{dataset.folder.key}/{name}" for name in names]
    bucket.delete(stores[0])
    bucket.write(stores[1], bucket.read(stores[1])[:-100])
    flipped = bytearray(bucket.read(stores[2]))
    flipped[len(flipped) // 2] ^= 1
    bucket.write(stores[2], bytes(flipped))
    bucket.write(tars[0], bucket.read(tars[0])[:-512])
    bucket.delete(tars[1])
    image = int(dataset.rows(2)["offset"][0].as_py()) + 50
    changed = bytearray(bucket.read(tars[2]))
    changed[image] ^= 1
    bucket.write(tars[2], bytes(changed))

    status, text = run(capsys, "status", *places(*copied))
    assert status == 1
    assert f"missing  1 tars (SHARD=0): {names[0]}" in text
    assert f"damaged  {names[1]}: s3://{bucket.name}/{stores[1]} is damaged" in text
    status, text = run(capsys, "verify", *places(*copied), "--num_workers", "1", "--deep")
    assert status == 1
    assert f"s3://{bucket.name}/{stores[0]} is missing. Extract this tar." in text
    assert f"s3://{bucket.name}/{stores[2]} is damaged" in text
    assert f"s3://{bucket.name}/{tars[0]} has" in text
    assert f"s3://{bucket.name}/{tars[1]} is missing" in text
    assert "the image's bytes hash to" in text


def test_status_asks_twice_a_store_and_verify_once(
    copied: tuple[Dataset, Cache], proxied: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    num_stores = len(copied[0].tars)
    proxied.requests.clear()
    assert run(capsys, "status", *places(*copied))[0] == 0
    asked = [request for request in proxied.requests if request.path.endswith(".zarr.zip")]
    assert len(asked) <= 2 * num_stores
    # dataset.json, the index's end, cache.json, and the folder's listing twice
    assert len(proxied.requests) - len(asked) <= 6
    proxied.requests.clear()
    assert run(capsys, "verify", *places(*copied), "--num_workers", "1")[0] == 0
    stores = [request for request in proxied.requests if request.path.endswith(".zarr.zip")]
    assert len(stores) == num_stores
    tars = [request for request in proxied.requests if request.path.endswith(".tar")]
    assert [request.method for request in tars] == ["HEAD"] * num_stores


def test_derived_stores_equal_those_of_a_disk(
    cache: Cache, copied: tuple[Dataset, Cache], root: ObjectPath, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--mantissa_bits", "6", "--num_workers", "1")
    assert run(capsys, "derive", "--cache", cache.folder, "--out", tmp_path / "small", *options)[0] == 0
    there = ("derive", "--cache", copied[1].folder, "--out", root / "small", *options)
    status, text = run(capsys, *there)
    assert (status, "4 written, 0 skipped, 0 failed" in text) == (0, True)
    small, remote = open_cache(tmp_path / "small"), open_cache(root / "small")
    assert small.shards() == remote.shards()
    for name in small.shards():
        mine, theirs = small.read(name), remote.read(name)
        assert mine.keys == theirs.keys
        assert mine.lare.tobytes() == theirs.lare.tobytes()
        assert mine.status.tobytes() == theirs.status.tobytes()
    status, text = run(capsys, *there)
    assert (status, "0 written, 4 skipped, 0 failed" in text) == (0, True)


def test_a_service_in_trouble_makes_no_store_damaged(
    copied: tuple[Dataset, Cache], proxied: Proxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "0.5")
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "0.5")
    first = store_name(copied[0].tars[0].name)
    for fault in FAULTS.values():
        proxied.fault = lambda n, request, fault=fault: fault if request.path.endswith(first) else None  # type: ignore[misc]
        status, text = run(capsys, "status", *places(*copied))
        assert status == 1
        assert f"{first}: " in text
        assert "damaged" not in text


def test_a_name_in_a_bucket_makes_no_folder_here(
    root: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("status", "verify"):
        status, text = run(capsys, command, "--data", root / "data", "--cache", root / "cache")
        assert (status, text) == (
            1,
            f"error: {root}/data holds no dataset.json. Pack one first: make shards SRC=… OUT={root}/data\n",
        )
    assert not [name for name in os.listdir(tmp_path) if name != "copies"]


def test_large_stores_are_read_in_ranges(
    dataset: Dataset, cache: Cache, copied: tuple[Dataset, Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache_schema.store.WHOLE_BYTES", 2000)
    for name in cache.shards():
        assert np.array_equal(cache.read(name).lare, copied[1].read(name).lare, equal_nan=True)
        assert json.dumps(cache.attributes(name)) == json.dumps(copied[1].attributes(name))


def test_an_index_of_many_row_groups_is_read(
    tmp_path: Path, root: ObjectPath, upload: Callable[[Path, ObjectPath], None]
) -> None:
    here = write_dataset(tmp_path / "many", [make_sample(i) for i in range(12)], {}, max_rows=1)
    upload(tmp_path / "many", root / "many")
    there = Dataset.open(root / "many")
    assert there.table().equals(here.table())
    assert there.rows(7).equals(here.rows(7))
