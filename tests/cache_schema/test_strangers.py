"""Files that other programs leave in a cache folder: told by status and verify, and read by nobody."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from cache_schema import Cache, Dataset, derive_cache, open_cache
from cache_schema.__main__ import main
from cache_schema.info import describe
from tests.cache_schema.conftest import NAME, fill_cache

COPIES = (
    "train-000000 (1).zarr.zip",
    "train-000000 - Copy.zarr.zip",
    "train-000000 (Jo's conflicted copy 2026-01-02).zarr.zip",
    "AAA.zarr.zip",
    "train-0000000x.zarr.zip",
    "Train-000000.zarr.zip",
)
"""Whole stores under names that sync clients and people give them."""
OTHERS = (
    *("._train-000000.zarr.zip", "train-000000.zarr.zip~", ".train-000000.zarr.zip.swp", "#cache.json#"),
    *("cache (1).json", ".DS_Store", "Thumbs.db", "train-000000.zarr.zip.part", "not\nes.txt"),
)


@pytest.fixture
def littered(cache: Cache) -> Cache:
    for name in COPIES:
        shutil.copy(cache.folder / NAME, cache.folder / name)
    for name in OTHERS:
        (cache.folder / name).write_bytes(b"not a store")
    (cache.folder / "train-000000 (2).zarr.zip").mkdir()
    return cache


def _arguments(command: str, cache: Cache, dataset: Dataset) -> Sequence[str]:
    return [command, "--data", str(dataset.folder), "--cache", str(cache.folder)]


def test_only_stores_are_listed(littered: Cache, dataset: Dataset) -> None:
    expected = sorted(f"{entry.name.removesuffix('.tar')}.zarr.zip" for entry in dataset.tars)
    assert littered.shards() == littered.stores_of(dataset.tars) == expected
    assert littered.stores_of(dataset.tars[:1]) == [NAME]


def test_status_names_each_and_counts_none(
    littered: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    (littered.folder / f".{NAME}.{'0' * 32}.tmp").touch()  # of a running job
    assert main(_arguments("status", littered, dataset)) == 0
    out = capsys.readouterr().out
    assert "4 done, 0 missing, 0 stale, 0 damaged tars" in out
    assert "stray file, which is not read: " in out and "… and 11 more stray files" in out
    assert main([*_arguments("status", littered, dataset), "--json"]) == 0
    strays = json.loads(capsys.readouterr().out)["strays"]
    assert len(strays) == len(COPIES) + len(OTHERS) + 1
    assert f"{littered.folder}/train-000000 (1).zarr.zip: not a file of a cache" in strays
    assert not any(".tmp" in line for line in strays)


def test_verify_warns_of_each_and_finds_no_problem(
    littered: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*_arguments("verify", littered, dataset), "--num_workers", "1"]) == 0
    out = capsys.readouterr().out
    assert f"0 problems, {len(COPIES) + len(OTHERS) + 1} warnings" in out
    assert f"warning: {littered.folder}/AAA.zarr.zip: not a file of a cache" in out


def test_info_and_derive_pass_them_by(dataset: Dataset, tmp_path: Path) -> None:
    source = fill_cache(tmp_path / "source", dataset, stored_dtype="float32", mantissa_bits=23)
    for name in (*COPIES, *OTHERS):
        (source.folder / name).write_bytes(b"not a store")
    assert "4" in next(line for line in describe(source.folder).splitlines() if line.startswith("stores"))
    states = [derived.state for derived in derive_cache(source, tmp_path / "half")]
    assert states == ["written"] * 4
    assert open_cache(tmp_path / "half").shards() == source.shards()
