import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Cache, Dataset, Status
from cache_schema.__main__ import main
from cache_schema.info import describe
from tests.cache_schema.conftest import NAME
from tests.samples import make_shard


@pytest.fixture
def with_rejected(cache: Cache, dataset: Dataset) -> Cache:
    """Seven rows of the first store are rejected."""
    shard = make_shard(dataset.rows(0), dataset.tars[0])
    shard.lare[1:], shard.status[1:] = np.nan, Status.UNREADABLE
    shard.lare[0] = 0.5
    reasons = {str(row): f"cut short after {row} bytes" for row in range(1, 8)}
    provenance = {"device": "cpu", "versions": {"torch": "2.9"}}
    attributes = {**shard.attributes, "reasons": reasons, "provenance": provenance, "seconds": 1.5}
    cache.write(NAME, dataclasses.replace(shard, attributes=attributes))
    return cache


def rows_of(text: str) -> dict[str, str]:
    return {line.split("  ")[0].strip(): line.split("  ", 1)[1].strip() for line in text.splitlines() if "  " in line}


def test_store_is_told_with_its_settings_arrays_values_and_reasons(with_rejected: Cache) -> None:
    path = with_rejected.folder / NAME
    text = describe(path)
    rows = rows_of(text)
    assert rows["fingerprint"] == with_rejected.fingerprint and "timestep" in text
    assert rows["format version"] == "1" and rows["tar"] == "train-000000.tar"
    assert rows["rows"] == "8 (ok 1, unreadable 7)"
    lare = "8×4×8×8 float16, chunks 64×4×8×8, bytes → blosc(zstd 3 bitshuffle) → crc32c"
    assert rows["array lare"] == lare and rows["array status"].endswith("bytes → zstd(3) → crc32c")
    assert rows["bytes on disk"].startswith(f"{path.stat().st_size:,} (")
    assert rows["values"] == "min 0.5, mean 0.5, max 0.5"
    assert rows["rejected row 1"] == "toy/1%2Epng: cut short after 1 bytes"
    assert "rejected row 6" not in rows and "and 2 more" in text
    assert "torch" in text and "2.9" in text


def test_columns_are_aligned(with_rejected: Cache) -> None:
    lines = describe(with_rejected.folder / NAME).splitlines()
    column = lines[0].index(str(with_rejected.folder))
    assert all(line[column - 2 : column] == "  " for line in lines)


def test_folder_is_told_with_its_first_store(with_rejected: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    (with_rejected.folder / "train-000001.zarr.zip").write_bytes(b"")
    assert main(["info", str(with_rejected.folder)]) == 0
    text = capsys.readouterr().out
    folder, _, store = text.partition("\nfirst store\n")
    assert rows_of(folder)["stores"] == "3, 1 that cannot be used (see verify)"
    assert rows_of(folder)["rows"] == "16 (ok 9, unreadable 7)"
    assert rows_of(store)["store"].endswith("test-000000.zarr.zip")


def test_store_without_its_folder_is_told_all_the_same(with_rejected: Cache, tmp_path: Path) -> None:
    path = tmp_path / "copy.zip"
    path.write_bytes((with_rejected.folder / NAME).read_bytes())
    assert rows_of(describe(path))["rows"] == "8 (ok 1, unreadable 7)"


def test_store_without_any_map_is_told(cache: Cache, dataset: Dataset) -> None:
    shard = make_shard(dataset.rows(0), dataset.tars[0])
    shard.lare[:], shard.status[:] = np.nan, Status.UNREADABLE
    cache.write(NAME, shard)
    assert rows_of(describe(cache.folder / NAME))["values"] == "no map that is ok"


@pytest.mark.parametrize("content", [None, b"", b"something else"])
def test_what_is_no_store_is_an_error(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / NAME
    if content is not None:
        path.write_bytes(content)
    assert main(["info", str(path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["info", str(tmp_path)]) == 1
    assert "is no cache" in capsys.readouterr().err


def test_store_of_other_settings_than_its_folder_is_an_error(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = cache.folder / "cache.json"
    content = json.loads(manifest.read_text())
    content["fields"]["timestep"] = 100
    manifest.write_text(json.dumps(content))
    assert main(["info", str(cache.folder / NAME)]) == 1
    assert "was edited" in capsys.readouterr().err
