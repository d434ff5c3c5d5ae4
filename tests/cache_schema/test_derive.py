import dataclasses
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema import (
    Cache,
    CacheError,
    Dataset,
    Fingerprint,
    FingerprintMismatch,
    ShardData,
    Status,
    create_cache,
    derive_cache,
    open_cache,
)
from cache_schema.__main__ import main
from cache_schema.verify import verify
from tests.cache_schema.conftest import FIELDS, NAME, fill_cache
from tests.samples import make_shard

FULL = {"stored_dtype": "float32", "mantissa_bits": 23}
VARIANTS = [("float16", None), ("float16", 7), ("float16", 1), ("float32", 7), ("float32", 22)]


@pytest.fixture
def source(dataset: Dataset, tmp_path: Path) -> Cache:
    """A cache of float32 maps with all bits; the first store has rejected rows and one after an fp32 retry."""
    cache = fill_cache(tmp_path / "source", dataset, **FULL)
    cache.write(NAME, with_rejected(make_shard(dataset.rows(0), dataset.tars[0])))
    return cache


def with_rejected(shard: ShardData) -> ShardData:
    shard.status[:3] = Status.OK_AFTER_FP32, Status.UNREADABLE, Status.NON_FINITE
    shard.lare[1:3] = np.nan
    reasons = {"1": "cut short", "2": "the map is not finite in fp32, or does not fit float32"}
    attributes: dict[str, Any] = {"reasons": reasons, "prompts_sha256": "ab", "seconds": 9.0, "seconds_reading": 8.0}
    attributes["provenance"] = {"device": "cpu"}
    return dataclasses.replace(shard, attributes={**shard.attributes, **attributes})


def derive(source: Cache, folder: Path, dtype: str = "float16", bits: int | None = None, **options: Any) -> list[str]:
    """Derive and tell each store's state with its problem."""
    results = derive_cache(source, folder, stored_dtype=dtype, mantissa_bits=bits, **options)
    return [f"{r.state} {r.problem}".strip() for r in results]


def arrays_in(path: Path) -> dict[str, bytes]:
    """Everything in a store but its attributes, byte for byte."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "zarr.json"}


@pytest.mark.parametrize(("dtype", "bits"), VARIANTS)
def test_derived_stores_are_those_written_directly_to_the_bit(
    source: Cache, dataset: Dataset, tmp_path: Path, dtype: str, bits: int | None
) -> None:
    assert derive(source, tmp_path / "derived", dtype, bits) == ["written"] * 4
    all_bits = {"float16": 10, "float32": 23}[dtype]
    direct = fill_cache(tmp_path / "direct", dataset, stored_dtype=dtype, mantissa_bits=bits or all_bits)
    direct.write(NAME, with_rejected(make_shard(dataset.rows(0), dataset.tars[0])))
    derived = open_cache(tmp_path / "derived")
    assert derived.fingerprint == direct.fingerprint and derived.fields == direct.fields
    for name in direct.shards():
        assert arrays_in(derived.path(name)) == arrays_in(direct.path(name))
    assert not [p for check in verify(derived, dataset) for p in check.problems]


def test_attributes_are_carried_on_and_tell_the_source(source: Cache, tmp_path: Path) -> None:
    derive(source, tmp_path / "derived", "float16", 7)
    shard = open_cache(tmp_path / "derived").read(NAME)
    attributes = shard.attributes
    assert attributes["counts"] == {"ok": 5, "ok_after_fp32": 1, "unreadable": 1, "non_finite": 1}
    assert attributes["reasons"] == {
        "1": "cut short",
        "2": "the map is not finite in fp32, or does not fit float16",
    }
    assert (attributes["prompts_sha256"], attributes["tar"]) == ("ab", "train-000000.tar")
    origin = attributes["provenance"]["derived_from"]
    assert origin == {
        "fingerprint": source.fingerprint,
        "seconds": 9.0,
        "seconds_reading": 8.0,
        "provenance": {"device": "cpu"},
    }
    assert attributes["seconds"] < 9 and "seconds_reading" not in attributes
    assert np.isnan(shard.lare[1:3]).all()


@pytest.mark.parametrize(("dtype", "bits", "value"), [("float16", None, 65520.0), ("float16", 7, 65504.0)])
def test_a_map_too_large_for_the_stored_dtype_is_rejected(
    source: Cache, dataset: Dataset, tmp_path: Path, dtype: str, bits: int | None, value: float
) -> None:
    shard = make_shard(dataset.rows(0), dataset.tars[0])
    shard.lare[4, 0, 0, 0] = value
    source.write(NAME, shard)
    assert derive(source, tmp_path / "derived", dtype, bits) == ["written"] * 4
    derived = open_cache(tmp_path / "derived").read(NAME)
    assert derived.status[4] == Status.NON_FINITE and np.isnan(derived.lare[4]).all()
    assert derived.attributes["reasons"] == {"4": "the map is not finite in fp32, or does not fit float16"}
    assert derived.attributes["counts"] == {"ok": 7, "non_finite": 1}
    assert np.array_equal(source.read(NAME).lare, shard.lare)


def test_a_map_that_an_extraction_would_compute_again_is_an_error(dataset: Dataset, tmp_path: Path) -> None:
    source = fill_cache(tmp_path / "source", dataset, **FULL, compute_dtype="bf16")
    shard = make_shard(dataset.rows(0), dataset.tars[0])
    shard.lare[4], shard.status[4] = 1e5, Status.OK
    source.write(NAME, shard)
    states = derive(source, tmp_path / "derived")
    assert states[1].startswith("failed") and states.count("written") == 3
    assert (
        "row 4 (real/4%2Epng): the map does not fit float16. An extraction in bf16 would compute it again" in states[1]
    )
    assert NAME not in open_cache(tmp_path / "derived").shards()
    shard.status[4] = Status.OK_AFTER_FP32
    source.write(NAME, shard)
    assert derive(source, tmp_path / "derived").count("skipped") == 3
    assert open_cache(tmp_path / "derived").read(NAME).status[4] == Status.NON_FINITE


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stored_dtype": "float16", "mantissa_bits": 10}, "holds float16 maps of 10 mantissa bits"),
        ({"stored_dtype": "float32", "mantissa_bits": 12}, "holds float32 maps of 12 mantissa bits"),
    ],
)
def test_a_rounded_source_is_refused(
    dataset: Dataset, tmp_path: Path, fields: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = fill_cache(tmp_path / "source", dataset, **fields)
    assert main(["derive", "--cache", str(source.folder), "--out", str(tmp_path / "out"), "--mantissa-bits", "7"]) == 1
    err = capsys.readouterr().err
    assert message in err and "Rounding them a second time" in err
    assert not (tmp_path / "out").exists()


def test_settings_that_cannot_be_are_refused(source: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["derive", "--cache", str(source.folder), "--out", str(tmp_path / "out")]
    for options, message in (
        (["--mantissa-bits", "11"], "float16 keeps 1 … 10"),
        (["--mantissa-bits", "0"], "float16 keeps 1 … 10"),
        (["--num_workers", "0"], "expected 1 or more"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            main([*arguments, *options])
        assert exit_info.value.code == 2 and message in capsys.readouterr().err
    with pytest.raises(CacheError, match="nothing to derive"):
        derive(source, tmp_path / "out", "float32", 23)
    with pytest.raises(FingerprintMismatch, match="stored_dtype: float32 ≠ float16"):
        derive(source, source.folder, "float16", 7)
    assert not (tmp_path / "out").exists()


def test_stores_that_are_there_are_checked_and_skipped(source: Cache, dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "derived"
    assert derive(source, folder) == ["written"] * 4
    before = {p.name: p.stat().st_ino for p in folder.iterdir()}
    assert derive(source, folder) == ["skipped"] * 4
    assert {p.name: p.stat().st_ino for p in folder.iterdir()} == before
    (folder / NAME).unlink()
    assert derive(source, folder).count("written") == 1
    assert derive(source, folder, overwrite=True) == ["written"] * 4

    changed = make_shard(dataset.rows(0), dataset.tars[0])
    source.write(NAME, dataclasses.replace(changed, attributes={**changed.attributes, "rows_sha256": "other"}))
    (folder / "test-000000.zarr.zip").write_bytes(b"")
    states = derive(source, folder)
    assert "Derive again with --overwrite" in states[1] and "is damaged" in states[0]
    assert states[2:] == ["skipped"] * 2


def test_a_store_of_other_settings_in_the_variants_folder_is_named(source: Cache, tmp_path: Path) -> None:
    derive(source, tmp_path / "seven", "float16", 7)
    derive(source, tmp_path / "six", "float16", 6)
    (tmp_path / "seven" / NAME).replace(tmp_path / "six" / NAME)
    assert "was made with settings" in derive(source, tmp_path / "six", "float16", 6)[1]


def test_command_tells_what_is_missing_and_damaged(
    source: Cache, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "derived"
    arguments = [
        "derive",
        "--cache",
        str(source.folder),
        "--out",
        str(out),
        "--mantissa-bits",
        "7",
        "--num_workers",
        "2",
    ]
    assert main(arguments) == 0
    size = sum(p.stat().st_size for p in out.glob("*.zip"))
    assert capsys.readouterr().out == f"{out}: 4 written, 0 skipped, 0 failed stores; {size:,} bytes written\n"
    arguments[-1] = "1"
    (source.folder / NAME).unlink()
    assert main(arguments) == 0
    assert main([*arguments, "--data", str(dataset.folder)]) == 1
    assert f"1 of 4 tars have no store in {source.folder}" in capsys.readouterr().out
    (source.folder / NAME).write_bytes(b"")
    (out / NAME).unlink()
    assert main(arguments) == 1
    assert f"{NAME}: {source.folder / NAME} is damaged" in capsys.readouterr().out


def test_stores_of_no_tar_are_passed_over_and_named(
    source: Cache, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = source.folder / "train-000099.zarr.zip"
    stray.write_bytes((source.folder / NAME).read_bytes())
    out = tmp_path / "out"
    places = ["--cache", str(source.folder), "--out", str(out), "--data", str(dataset.folder)]
    assert main(["derive", *places, "--mantissa_bits=7", "--num_workers=1"]) == 0
    said = capsys.readouterr().out
    assert f"{out}: 4 written, 0 skipped, 0 failed stores" in said
    assert f"passed over, as they are of no tar of this dataset: 1 stores, the first {stray.name}" in said
    assert not (out / stray.name).exists()


def test_a_derived_folder_takes_no_store_of_another_dataset(source: Cache, tmp_path: Path) -> None:
    other = create_cache(tmp_path / "out", "another", Fingerprint({**FIELDS, "mantissa_bits": 7}))
    other.write(NAME, source.read(NAME))
    with pytest.raises(CacheError, match="belongs to dataset another"):
        derive(source, tmp_path / "out", "float16", 7)


@pytest.mark.slow
def test_sigterm_to_all_processes_leaves_whole_stores_alone(source: Cache, dataset: Dataset, tmp_path: Path) -> None:
    rows, entry = dataset.rows(0), dataset.tars[0]
    for n in range(40):
        source.write(f"train-{n:06d}.zarr.zip", make_shard(rows, entry, (4, 256, 256)))
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "cache_schema",
        "derive",
        "--cache",
        source.folder,
        "--out",
        out,
        "--num_workers",
        "2",
    ]
    process = subprocess.Popen(command, start_new_session=True)
    while not list(out.glob("[!.]*.zarr.zip")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(240) == 143
    derived = open_cache(out)
    assert sorted(p.name for p in out.iterdir()) == ["cache.json", *derived.shards()]
    assert 0 < len(derived.shards()) < len(source.shards())
    assert all(derived.read(name).attributes["tar"] for name in derived.shards())
    assert derive(source, out).count("failed") == 0
