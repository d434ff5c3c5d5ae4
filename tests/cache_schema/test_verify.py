import dataclasses
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache_schema import Cache, CacheError, Dataset, FormatVersionError, ShardCorrupt, ShardMissing, Status, store_name
from cache_schema.__main__ import main
from cache_schema.verify import strays, verify
from tests.cache_schema.conftest import NAME, fill_cache, rewrite
from tests.cache_schema.test_cache import set_version_7
from tests.samples import make_shard

Verify = Callable[..., tuple[int, str]]


@pytest.fixture
def run_verify(cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> Verify:
    """The command in this process: exit status and what it wrote."""

    def call(*options: str) -> tuple[int, str]:
        data = ["--data", str(dataset.folder), "--cache", str(cache.folder)]
        status = main(["verify", *data, "--num_workers", "1", *options])
        return status, capsys.readouterr().out

    return call


@pytest.mark.parametrize("options", [[], ["--deep"], ["--num_workers", "2"]])
def test_a_whole_cache_has_no_problem(run_verify: Verify, cache: Cache, options: list[str]) -> None:
    expected = f"{cache.folder}: 4 done, 0 missing, 0 stale, 0 damaged stores; 0 problems, 0 warnings\n"
    assert run_verify(*options) == (0, expected)


def flip_a_bit_of_the_maps(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"lare/c/0") + 200] ^= 1
    path.write_bytes(data)


DAMAGE: list[tuple[Callable[[Path], object], type[CacheError], str]] = [
    (flip_a_bit_of_the_maps, ShardCorrupt, "is damaged"),
    (lambda path: path.write_bytes(path.read_bytes()[:-1]), ShardCorrupt, "is damaged"),
    (lambda path: path.write_bytes(path.read_bytes()[:5000]), ShardCorrupt, "is damaged"),
    (lambda path: path.write_bytes(b""), ShardCorrupt, "is damaged"),
    (lambda path: path.unlink(), ShardMissing, "is missing"),
    (lambda path: rewrite(path, set_version_7), FormatVersionError, "has format version 7, this code reads 1"),
]


@pytest.mark.parametrize(("damage", "error", "message"), DAMAGE)
def test_a_spoilt_store_is_named_and_a_reader_refuses_it(
    run_verify: Verify, cache: Cache, damage: Callable[[Path], object], error: type[CacheError], message: str
) -> None:
    damage(cache.folder / NAME)
    status, out = run_verify()
    line, summary = out.splitlines()
    assert status == 1 and line.startswith("train-000000.tar: ") and message in line and NAME in line
    assert "3 done" in summary and "1 problems" in summary
    with pytest.raises(error):
        cache.read(NAME)


def test_one_flipped_bit_anywhere_in_an_array_is_named(cache: Cache, dataset: Dataset) -> None:
    path = cache.folder / NAME
    whole = path.read_bytes()
    rng = random.Random(1)
    for array in ("lare", "key", "status", "image_sha256"):
        start = whole.index(f"{array}/c/0".encode())
        start = whole.index(f"{array}/c/0".encode(), start) + len(f"{array}/c/0")
        for _ in range(10):
            damaged = bytearray(whole)
            damaged[start + rng.randrange(20)] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            check = next(iter(verify(cache, dataset)))
            assert check.state == "damaged" and len(check.problems) == 1, array


def change_tar(path: Path, change: Callable[[tarfile.TarInfo, bytes], bytes | None]) -> None:
    """Write a tar again with other contents; None leaves a member out."""
    with tarfile.open(path) as source:
        members = [(info, source.extractfile(info).read()) for info in source]  # type: ignore[union-attr]
    with tarfile.TarFile(path, "w", format=tarfile.PAX_FORMAT) as target:
        for info, data in members:
            changed = change(info, data)
            if changed is not None:
                info.size = len(changed)
                target.addfile(info, io.BytesIO(changed))


def test_a_missing_and_a_cut_tar_are_named(run_verify: Verify, dataset: Dataset) -> None:
    dataset.tar_path(0).unlink()
    cut = dataset.tar_path(1)
    cut.write_bytes(cut.read_bytes()[:3000])
    status, out = run_verify()
    lines = out.splitlines()
    assert status == 1 and "4 done" in lines[-1]
    assert lines[0] == f"train-000000.tar: {dataset.tar_path(0)} is missing. Restore it or pack the dataset again."
    assert f"has 3000 bytes, dataset.json says {dataset.tars[1].num_bytes}" in lines[1]
    assert "train-000001.tar" in lines[2]


def test_members_that_lie_elsewhere_than_the_index_says_are_named(run_verify: Verify, dataset: Dataset) -> None:
    def rename(info: tarfile.TarInfo, data: bytes) -> bytes:
        info.name = info.name.replace("real/2%2E", "real/X%2E")
        return data

    change_tar(dataset.tar_path(0), rename)
    change_tar(dataset.tar_path(1), lambda info, data: None if info.name == "toy/9%2Epng.json" else data)
    status, out = run_verify()
    assert status == 1
    assert "train-000000.tar, row 2 (real/2%2Epng): the tar has 'real/X%2Epng.png' at byte" in out
    assert "train-000001.tar" in out and "has 15 members, the index expects 16" in out
    assert "row 2 (real/10%2Epng): no file begins at byte" in out


def test_other_bytes_of_the_same_length_are_named_by_deep_alone(run_verify: Verify, dataset: Dataset) -> None:
    row = dataset.rows(0).to_pylist()[5]
    data = bytearray(dataset.tar_path(0).read_bytes())
    data[row["offset"] + 50] ^= 1
    dataset.tar_path(0).write_bytes(data)
    assert run_verify()[0] == 0
    status, out = run_verify("--deep")
    assert status == 1 and "train-000000.tar, row 5 (toy/5%2Epng): the image's bytes hash to " in out
    assert out.count(row["sha256"]) == 2  # of the index, of the store


def test_json_copies_that_differ_from_the_index_are_named(run_verify: Verify, dataset: Dataset) -> None:
    def turn_label(info: tarfile.TarInfo, data: bytes) -> bytes:
        if info.name == "real/4%2Epng.json":
            return data.replace(b'"label": 0', b'"label": 1').replace(b"toy", b"sub")
        return data.replace(b"{", b"[") if info.name == "toy/7%2Epng.json" else data

    change_tar(dataset.tar_path(0), turn_label)
    assert run_verify()[0] == 0
    status, out = run_verify("--deep")
    lines = out.splitlines()
    assert status == 1 and len(lines) == 3
    assert lines[0] == (
        "train-000000.tar, row 4 (real/4%2Epng): label is 1 in the tar's json, 0 in the index; "
        "subset is 'sub' in the tar's json, 'toy' in the index (the index counts)"
    )
    assert "row 7 (toy/7%2Epng): the tar's json cannot be read" in lines[1]


def test_a_store_of_other_rows_is_named(run_verify: Verify, cache: Cache, dataset: Dataset) -> None:
    entry = dataset.tars[0]
    cache.write(NAME, make_shard(dataset.rows(0).take([1, 0, *range(2, 8)]), entry))
    shutil.copy(cache.folder / "test-000000.zarr.zip", cache.folder / "validation-000000.zarr.zip")
    status, out = run_verify()
    assert status == 1 and "2 done, 0 missing, 2 stale, 0 damaged" in out
    assert "train-000000.tar, row 0: the store has 'toy/1%2Epng', the index 'real/0%2Epng'" in out
    assert "validation-000000.tar, row 0: the store has" in out


def test_an_index_that_was_edited_is_named(run_verify: Verify, dataset: Dataset) -> None:
    table = dataset.table()
    keys = table["key"].to_pylist()
    keys[9] = "toy/other%2Epng"
    table = table.set_column(0, table.schema.field("key"), pa.array(keys))
    with pq.ParquetWriter(dataset.index_path, table.schema, write_page_checksum=True) as writer:
        start = 0
        for entry in dataset.tars:
            writer.write_table(table.slice(start, entry.num_rows))
            start += entry.num_rows
    status, out = run_verify()
    assert status == 1 and "train-000001.tar: the index's rows hash to" in out
    assert "train-000001.tar, row 1: the store has 'toy/9%2Epng', the index 'toy/other%2Epng'" in out
    assert "train-000001.tar, row 1 (toy/other%2Epng): the tar has 'toy/9%2Epng.png'" in out


def _rejected_with_map(shard: Any) -> Any:
    shard.status[3] = Status.UNREADABLE
    return dataclasses.replace(shard, attributes={**shard.attributes, "reasons": {"3": "why"}})


def _rejected_without_reason(shard: Any) -> Any:
    shard.lare[3], shard.status[3] = np.nan, Status.UNREADABLE
    return shard


def _of_another_tar(shard: Any) -> Any:
    return dataclasses.replace(shard, attributes={**shard.attributes, "tar": "test-000000.tar"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rejected_with_map, "row 3 (toy/3%2Epng) is rejected, but has a map"),
        (_rejected_without_reason, "1 rows are rejected, 0 have a reason"),
        (_of_another_tar, "the store says that it belongs to 'test-000000.tar'"),
    ],
)
def test_what_a_writer_got_wrong_is_named(
    run_verify: Verify, cache: Cache, dataset: Dataset, change: Callable[[Any], Any], message: str
) -> None:
    cache.write(NAME, change(make_shard(dataset.rows(0), dataset.tars[0])))
    status, out = run_verify()
    assert status == 1 and message in out and "3 done, 0 missing, 0 stale, 1 damaged" in out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stored_dtype": "float32", "mantissa_bits": 23}, "the maps are float16, the settings say float32"),
        ({"mantissa_bits": 7}, "the maps have more than the 7 mantissa bits of the settings"),
    ],
)
def test_maps_that_are_not_stored_as_the_settings_say_are_named(
    cache: Cache, dataset: Dataset, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    other = fill_cache(tmp_path / "other", dataset, **fields)
    assert not [p for check in verify(other, dataset) for p in check.problems]

    def change(entries: dict[str, bytes]) -> None:
        entries["zarr.json"] = entries["zarr.json"].replace(cache.fingerprint.encode(), other.fingerprint.encode())

    rewrite(cache.folder / NAME, change)
    shutil.copy(cache.folder / NAME, other.folder / NAME)
    assert [p for check in verify(other, dataset) for p in check.problems] == [f"train-000000.tar: {message}"]


def test_strays_are_warnings(run_verify: Verify, cache: Cache) -> None:
    (cache.folder / f".{NAME}.0123.tmp").touch()
    (cache.folder / "notes.txt").touch()
    (cache.folder / ".progress").mkdir()  # of the tasks that fill a cache: no stray
    shutil.copy(cache.folder / NAME, cache.folder / "train-000099.zarr.zip")
    status, out = run_verify()
    assert status == 0 and "0 problems, 3 warnings" in out
    assert f"warning: {cache.folder}/.{NAME}.0123.tmp: a temporary file" in out
    assert f"warning: {cache.folder}/notes.txt: not a file of a cache" in out
    assert f"warning: {cache.folder}/train-000099.zarr.zip: a store of no tar of this dataset" in out


def test_a_folder_is_listed_once_however_many_files_it_has(
    cache: Cache, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_listings = 0

    def counted(list_folder: Callable[..., Any]) -> Callable[..., Any]:
        def list_and_count(path: str) -> Any:
            nonlocal num_listings
            num_listings += 1
            return list_folder(path)

        return list_and_count

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    counts = []
    for num_more in (0, 50):
        for number in range(num_more):
            shutil.copy(cache.folder / NAME, cache.folder / f"train-{100 + number:06d}.zarr.zip")
        num_listings = 0
        assert not any(check.problems for check in verify(cache, dataset)) and len(strays(cache, dataset)) == num_more
        counts.append(num_listings)
    assert counts == [1, 1]


def test_many_problems_of_one_kind_are_counted(cache: Cache, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache_schema.verify_stores.MAX_LINES", 3)
    tar = dataset.tar_path(0)
    tar.write_bytes(tar.read_bytes()[:512] + b"\0" * 512 + tar.read_bytes()[512:])
    problems = next(iter(verify(cache, dataset))).problems
    assert problems[-1] == "train-000000.tar: … and 4 more rows like this"


def test_an_error_of_the_check_itself_is_told(
    cache: Cache, dataset: Dataset, run_verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setattr("cache_schema.verify_stores.check_join", fail)
    status, out = run_verify()
    assert status == 1 and "test-000000.tar: RuntimeError: no memory left" in out and "4 unchecked" in out


def test_json_of_a_json_copy_is_what_the_index_holds(dataset: Dataset) -> None:
    with tarfile.open(dataset.tar_path(0)) as tar:
        copy = json.loads(tar.extractfile("real/0%2Epng.json").read())  # type: ignore[union-attr]
    row = dataset.rows(0).to_pylist()[0]
    assert copy == {name: row[name] for name in copy}
    assert store_name(row["tar"]) == NAME
