import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Cache, Dataset, ShardData, Status, shard_reports, store_name
from cache_schema.__main__ import main
from cache_schema.report import format_shards, reason_kind, summarize
from tests.cache_schema.conftest import NAME, rewrite
from tests.cache_schema.test_cache import set_version_7
from tests.samples import make_shard


def arguments(cache: Cache, dataset: Dataset) -> list[str]:
    return ["status", "--data", str(dataset.folder), "--cache", str(cache.folder)]


def reject(shard: ShardData, rows: dict[int, tuple[Status, str]], **attributes: object) -> ShardData:
    """The same features with some rows rejected."""
    for row, (status, _) in rows.items():
        shard.lare[row], shard.status[row] = np.nan, status
    reasons = {str(row): reason for row, (_, reason) in rows.items()}
    return dataclasses.replace(shard, attributes={**shard.attributes, "reasons": reasons, **attributes})


@pytest.fixture
def spoilt(cache: Cache, dataset: Dataset) -> Cache:
    """A tar with rejected images, one without a store, one that has changed since, and one whose store is cut short."""
    rows = {
        1: (Status.UNREADABLE, "cut short: 16 bytes are missing"),
        3: (Status.UNREADABLE, "cut short: 1,024 bytes are missing"),
        4: (Status.TOO_LARGE, "40000 x 40000 pixels"),
    }
    cache.write(NAME, reject(make_shard(dataset.rows(0), dataset.tars[0]), rows, seconds=2.0))
    (cache.folder / "train-000001.zarr.zip").unlink()
    stale = make_shard(dataset.rows(2), dataset.tars[2])
    cache.write("validation-000000.zarr.zip", dataclasses.replace(stale, attributes={"rows_sha256": "other"}))
    test = cache.folder / "test-000000.zarr.zip"
    test.write_bytes(test.read_bytes()[:-100])
    return cache


def test_everything_done_is_exit_status_zero(
    cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(cache, dataset)) == 0
    out = capsys.readouterr().out
    assert "4 done, 0 missing, 0 stale, 0 damaged tars" in out
    assert "24 of 24 images done, 0 of them rejected (0.00 %)" in out


def test_status_tells_what_is_not_done_and_why_images_were_rejected(
    spoilt: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(spoilt, dataset)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("stale    validation-000000.tar: validation-000000.tar has changed since")
    assert lines[1].startswith("damaged  test-000000.tar: ") and "is damaged (BadZipFile" in lines[1]
    assert "missing  1 tars (SHARD=1): train-000001.tar" in lines
    assert f"{spoilt.folder}: 1 done, 1 missing, 1 stale, 1 damaged tars" in lines
    assert "8 of 24 images done, 3 of them rejected (37.50 %), 0 after an fp32 retry" in lines
    assert "4.0 images/s over 2 s, summed over jobs" in lines
    assert "        2 × unreadable" in lines and "        1 × too_large" in lines
    assert "        2 × cut short: # bytes are missing" in lines
    assert "largest shares of rejected images: train-000000.tar 3" in lines


def test_status_as_json(spoilt: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(spoilt, dataset), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["tars"] == {
        "done": ["train-000000.tar"],
        "missing": ["train-000001.tar"],
        "stale": ["validation-000000.tar"],
        "damaged": ["test-000000.tar"],
    }
    assert content["shards"]["missing"] == "1"
    assert sorted(content["problems"]) == ["test-000000.tar", "validation-000000.tar"]
    assert content["rows"] == {"total": 24, "done": 8, "ok": 5, "ok_after_fp32": 0, "rejected": 3}
    assert content["rejected"] == {
        "by_status": {"unreadable": 2, "too_large": 1},
        "by_reason": {"cut short: # bytes are missing": 2, "# x # pixels": 1},
        "other_reasons": 0,
        "by_tar": {"train-000000.tar": 3},
    }
    assert (content["seconds"], content["images_per_second"]) == (2.0, 4.0)
    assert (content["fingerprint"], content["dataset_id"]) == (spoilt.fingerprint, dataset.dataset_id)


def test_many_kinds_of_reasons_are_a_bounded_list(cache: Cache, dataset: Dataset) -> None:
    kinds = iter(chr(97 + i) * 3 for i in range(26))
    for n, entry in enumerate(dataset.tars):
        shard = make_shard(dataset.rows(n), entry)
        reasons = {str(i): next(kinds) for i in range(entry.num_rows)}
        shard = dataclasses.replace(shard, attributes={**shard.attributes, "reasons": reasons})
        cache.write(store_name(entry.name), shard)
    rejected = summarize(cache, shard_reports(cache, dataset))["rejected"]
    assert len(rejected["by_reason"]) == 20 and rejected["other_reasons"] == 4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("image 12 of 345", "image 1,024 of 2.5"),
        ("<_io.BytesIO object at 0x7f3aa0>", "<_io.BytesIO object at 0x7f4bb1>"),
        (r"it begins with b'\x00\x01'", 'it begins with b"it\'s"'),
        ("two\nlines", "two lines"),
    ],
)
def test_reasons_that_differ_in_particulars_only_are_of_one_kind(first: str, second: str) -> None:
    assert reason_kind(first) == reason_kind(second)
    assert reason_kind(first) != reason_kind("another")


def test_other_settings_and_another_format_version_are_stale(cache: Cache, dataset: Dataset, tmp_path: Path) -> None:
    rewrite(cache.folder / NAME, set_version_7)
    other = "train-000001.zarr.zip"
    rewrite(
        cache.folder / other,
        lambda entries: entries.update(
            {"zarr.json": entries["zarr.json"].replace(cache.fingerprint.encode(), b"0" * 64)}
        ),
    )
    states = {r.tar: (r.state, r.problem) for r in shard_reports(cache, dataset)}
    assert states["train-000000.tar"][0] == "stale" and "format version 7" in states["train-000000.tar"][1]
    assert states["train-000001.tar"][0] == "stale" and "was made with settings 0000" in states["train-000001.tar"][1]


@pytest.mark.parametrize("counts", [b'{"ok": 7}', b"null", b'{"ok": "many"}', b"[]"])
def test_attributes_that_make_no_sense_are_damage(cache: Cache, dataset: Dataset, counts: bytes) -> None:
    def change(entries: dict[str, bytes]) -> None:
        content = json.loads(entries["zarr.json"])
        content["attributes"]["counts"] = json.loads(counts)
        entries["zarr.json"] = json.dumps(content).encode()

    rewrite(cache.folder / NAME, change)
    assert [r.state for r in shard_reports(cache, dataset)] == ["damaged", "done", "done", "done"]


def test_positions_are_written_as_extraction_takes_them() -> None:
    assert format_shards([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert format_shards([]) == "" and format_shards([3]) == "3"


def test_what_is_no_cache_or_another_datasets_is_an_error(
    cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--data", str(dataset.folder), "--cache", "nowhere"]) == 1
    assert "is no cache" in capsys.readouterr().err
    assert main(["status", "--data", "nowhere", "--cache", str(cache.folder)]) == 1
    assert "holds no dataset.json" in capsys.readouterr().err
    manifest = cache.folder / "cache.json"
    manifest.write_text(manifest.read_text().replace(dataset.dataset_id, "another"))
    assert main(arguments(cache, dataset)) == 1
    assert "belongs to dataset another" in capsys.readouterr().err


def test_an_unfinished_cache_is_no_error_unless_a_script_asks(
    cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(cache, dataset)) == main([*arguments(cache, dataset), "--check"]) == 0
    cache.path(NAME).unlink()
    assert main(arguments(cache, dataset)) == 0
    assert "1 missing" in capsys.readouterr().out
    assert main([*arguments(cache, dataset), "--check"]) == 1
    assert main([*arguments(cache, dataset), "--json", "--check"]) == 1
    with pytest.raises(SystemExit):
        main(["status", "--help"])
    assert "exit status 1 unless all tars are done" in " ".join(capsys.readouterr().out.split())
