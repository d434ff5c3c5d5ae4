"""Folders that other versions of the format and of the libraries wrote are read here, with equal arrays.

`scripts/test_formats.py` names more folders in FORMAT_FOLDERS: those of another Python's newest libraries.
"""

import hashlib
import inspect
import json
import os
import re
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache_schema import (
    DATASET_VERSION,
    FORMAT_VERSION,
    Dataset,
    Status,
    decode_image,
    open_cache,
    read_image_bytes,
    store,
)
from cache_schema.__main__ import main
from tests.cache_schema.formats import REJECTED_ROW, RETRIED_ROW, VARIANTS, write_all
from tests.samples import make_sample

KEPT = sorted((Path(__file__).parents[1] / "data").glob("format-*"))
FOLDERS = [*KEPT, *map(Path, filter(None, os.environ.get("FORMAT_FOLDERS", "").split(os.pathsep)))]
in_each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def versions_in(pattern: str) -> set[int]:
    """Versions of the format that are kept, by the files that tell them."""
    return {json.loads(path.read_text())["format_version"] for folder in KEPT for path in folder.glob(pattern)}


def test_every_version_of_the_format_is_kept() -> None:
    assert versions_in("*/cache.json") == set(range(1, FORMAT_VERSION + 1))
    assert versions_in("*/dataset.json") == set(range(1, DATASET_VERSION + 1))


@in_each_folder
def test_the_dataset_is_read(folder: Path) -> None:
    dataset = Dataset.open(folder / "data")
    assert [(tar.name, tar.num_rows) for tar in dataset.tars] == [
        ("train-000000.tar", 3),
        ("train-000001.tar", 1),
        ("test-000000.tar", 2),
        ("train-000002.tar", 2),
        ("test-000001.tar", 1),
    ]
    for i, row in enumerate(sorted(dataset.table().to_pylist(), key=lambda row: row["source_path"].split("/")[-1])):
        sample = make_sample(i)
        assert (row["key"], row["label"]) == (sample.key, i % 2)
        image = read_image_bytes(folder / "data" / row["tar"], row["offset"], row["size"])
        assert hashlib.sha256(image).hexdigest() == row["sha256"]
        assert np.array_equal(decode_image(image), decode_image(sample.image))  # another zlib gives other bytes
    assert dataset.rows(0).to_pylist()[0]["class_name"] == "cafe\u0301 ✓"


@in_each_folder
@pytest.mark.parametrize("variant", VARIANTS)
def test_stores_give_equal_arrays(folder: Path, variant: str) -> None:
    cache = open_cache(folder / variant)
    assert cache.fields == VARIANTS[variant] and len(cache.shards()) == 5
    with np.load(folder / "expected.npz") as expected:
        for name in cache.shards():
            shard = cache.read(name)
            for array in ("lare", "status", "image_sha256"):
                mine, theirs = getattr(shard, array), expected[f"{variant}/{name}/{array}"]
                assert mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
            assert shard.keys == expected[f"{variant}/{name}/key"].tolist()
    first = cache.read("train-000000.zarr.zip")
    assert first.status.tolist() == [Status.OK, Status.NON_FINITE, Status.OK_AFTER_FP32]
    assert np.isnan(first.lare[REJECTED_ROW]).all() and np.isfinite(first.lare[[0, RETRIED_ROW]]).all()
    assert first.attributes["reasons"] == {"1": "the map is not finite in fp32, or does not fit float16"}


@in_each_folder
@pytest.mark.parametrize("variant", VARIANTS)
def test_verification_finds_nothing(folder: Path, variant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["verify", f"--data={folder / 'data'}", f"--cache={folder / variant}", "--deep", "--num_workers=1"]) == 0
    )
    assert "5 done, 0 missing, 0 stale, 0 damaged stores; 0 problems, 0 warnings" in capsys.readouterr().out


def example_of_the_docstring() -> str:
    """The one line of code that reads a store with zarr alone."""
    found = re.findall(r"`(zarr\.open_group\(.*)`", inspect.getdoc(store) or "")
    assert len(found) == 1
    return str(found[0])


@in_each_folder
def test_the_example_of_the_docstring_reads_a_store_as_it_stands(folder: Path) -> None:
    for path in (folder / "float32").glob("*.zarr.zip"):
        maps = eval(example_of_the_docstring(), {"zarr": zarr, "path": path})
        assert np.array_equal(maps, open_cache(folder / "float32").read(path.name).lare, equal_nan=True)


@pytest.mark.parametrize("kept", KEPT[-1:], ids=lambda folder: folder.name)
def test_the_present_version_is_still_written_byte_for_byte(kept: Path, tmp_path: Path) -> None:
    versions = json.loads((kept / "versions.json").read_text())
    if versions != {library: version(library) for library in versions}:
        pytest.skip(f"bytes depend on the libraries, they were {versions}")
    write_all(now := tmp_path / "now")
    names = sorted(path.relative_to(kept) for path in kept.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(now) for path in now.rglob("*") if path.is_file())
    for name in names:
        if name.suffix == ".zip":  # the times of its entries differ
            with zipfile.ZipFile(now / name) as mine, zipfile.ZipFile(kept / name) as theirs:
                assert mine.namelist() == theirs.namelist()
                assert [mine.read(entry) for entry in mine.namelist()] == [theirs.read(e) for e in theirs.namelist()]
        elif name.suffix != ".npz":
            assert (now / name).read_bytes() == (kept / name).read_bytes(), name
