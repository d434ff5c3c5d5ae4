"""Extraction from and to a bucket: the stores of a disk, to the bit but for times; two tasks; kills; faults."""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Dataset, ObjectPath, open_cache
from cache_schema.__main__ import main as cache_main
from extract.__main__ import main
from extract.run.progress import ProgressFile
from tests.extract.conftest import pack
from tests.models import save_tiny_sd
from tests.object_storage.bucket import Bucket
from tests.object_storage.proxy import FAULTS, Proxy

Upload = Callable[[Path, ObjectPath], None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sd(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture
def packed(tmp_path: Path) -> Dataset:
    """Seven pictures in tars of five and two rows."""
    return pack(tmp_path / "data", list(range(7)))


@pytest.fixture
def data(packed: Dataset, root: ObjectPath, upload: Upload) -> ObjectPath:
    """The same in the bucket."""
    assert isinstance(packed.folder, Path)
    upload(packed.folder, root / "data")
    return root / "data"


def arguments(data: object, cache: object, model: Path, *more: str) -> list[str]:
    settings = ["--image_size=64", "--batch_size=2", "--num_workers=1", "--device=cpu", "--stored_dtype=float32"]
    return ["run", f"--data={data}", f"--cache={cache}", f"--model={model}", *settings, *more]


def check_equal(here: Path, there: ObjectPath, *, provenance: bool = True) -> None:
    """The stores of two caches, but for how long they took, and perhaps by which settings of the run."""
    mine, theirs = open_cache(here), open_cache(there)
    assert mine.fingerprint == theirs.fingerprint
    assert mine.shards() == theirs.shards() != []
    for name in mine.shards():
        a, b = mine.read(name), theirs.read(name)
        assert a.keys == b.keys
        assert np.array_equal(a.lare, b.lare, equal_nan=True)
        assert a.status.tobytes() == b.status.tobytes()
        assert a.image_sha256.tobytes() == b.image_sha256.tobytes()
        times = {"seconds", "seconds_reading", *([] if provenance else ["provenance"])}
        assert {k: v for k, v in a.attributes.items() if k not in times} == {
            k: v for k, v in b.attributes.items() if k not in times
        }


def test_stores_equal_those_of_a_disk(
    packed: Dataset, data: ObjectPath, root: ObjectPath, model: Path, bucket: Bucket, tmp_path: Path
) -> None:
    assert main(arguments(packed.folder, tmp_path / "cache", model)) == 0
    assert main(arguments(data, root / "cache", model)) == 0
    check_equal(tmp_path / "cache", root / "cache")
    assert [key.rpartition("/")[2] for key in bucket.keys(f"{root.key}/cache/")] == [
        "cache.json",
        "train-000000.zarr.zip",
        "train-000001.zarr.zip",
    ]
    text = b"".join(bucket.read(key) for key in bucket.keys(f"{root.key}/cache/")).decode("latin-1")
    assert not any(value in text for value in bucket.swift.environment.values() if value != "true")
    assert main(arguments(data, root / "cache", model)) == 0  # nothing is left to do
    assert cache_main(["verify", f"--data={data}", f"--cache={root / 'cache'}", "--deep", "--num_workers=1"]) == 0


def test_of_two_tasks_on_one_tar_one_wins_and_the_other_says_so(
    data: ObjectPath,
    root: ObjectPath,
    model: Path,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from extract.run.job import Job

    publish, names = Job._publish, []

    def publish_late(self: Job, n: int, *args: object) -> bool:
        if n not in names:  # the other task comes in between
            names.append(n)
            assert main(arguments(data, root / "cache", model, f"--shard={n}")) == 0
        return publish(self, n, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Job, "_publish", publish_late)
    assert main(arguments(data, root / "cache", model, "--shard=0")) == 0
    assert "train-000000.zarr.zip was published by another task meanwhile: its store stays" in caplog.text


@pytest.mark.parametrize("name", FAULTS)
def test_a_run_through_a_faulty_service_ends_well(
    packed: Dataset,
    data: ObjectPath,
    root: ObjectPath,
    model: Path,
    proxied: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
) -> None:
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "2")
    assert main(arguments(packed.folder, tmp_path / "cache", model)) == 0
    proxied.fault = lambda n, request: FAULTS[name] if n % 5 == 2 else None
    assert main(arguments(data, root / "cache", model)) == 0
    check_equal(tmp_path / "cache", root / "cache")
    assert len(proxied.requests) > 10


def test_a_service_that_stays_broken_ends_a_run_with_a_sentence(
    data: ObjectPath,
    root: ObjectPath,
    model: Path,
    bucket: Bucket,
    proxied: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "1")
    proxied.fault = lambda n, request: FAULTS["500"] if request.path.endswith(".tar") and request.range else None
    assert main(arguments(data, root / "cache", model)) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert re.search(r"train-00000\d.tar: the service said 500", error[0])
    assert [key for key in bucket.keys(f"{root.key}/cache/") if key.endswith(".zip")] == []


def test_a_tar_that_changed_is_refused_and_asked_for_anew(
    packed: Dataset, data: ObjectPath, root: ObjectPath, model: Path, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    key = f"{data.key}/{packed.tars[1].name}"
    whole = bucket.read(key)
    at = int(packed.rows(1)["offset"][0].as_py()) + 40
    bucket.write(key, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert main(arguments(data, root / "cache", model)) == 1
    assert "the image's sha256 is" in capsys.readouterr().err
    bucket.write(key, whole)
    assert main(arguments(data, root / "cache", model)) == 0


def test_settings_that_know_no_object_storage_refuse_an_address(
    root: ObjectPath, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    calls = [
        ["noise-study", f"--data={root}", "--out=x.csv"],
        ["import-maps", f"--data={root}", f"--maps={root}", f"--annotation={root}", f"--cache={root}"],
    ]
    for call in calls:
        with pytest.raises(SystemExit):
            main(call)
        assert "is in object storage: this setting takes a folder or file of this machine" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_launch_of_local_tasks_fills_a_cache(
    packed: Dataset, data: ObjectPath, root: ObjectPath, model: Path, tmp_path: Path
) -> None:
    assert main(arguments(packed.folder, tmp_path / "cache", model)) == 0
    _, *settings = arguments(data, root / "cache", model)
    assert main(["launch", *settings, "--engine=local", "--processes=1"]) == 0
    check_equal(tmp_path / "cache", root / "cache", provenance=False)


def test_tasks_of_this_machine_and_all_stores_are_watched(
    packed: Dataset, data: ObjectPath, root: ObjectPath, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["watch", f"--data={data}", f"--cache={root / 'cache'}", "--once=true"]
    assert main(arguments(data, root / "cache", model, "--shard=0")) == 0
    capsys.readouterr()
    with ProgressFile(str(root / "cache"), 1, 2) as progress:
        progress.start_tar("train-000001.tar")
        assert main(flags) == 0
    shown = capsys.readouterr().out
    assert "1 of 2 tars" in shown
    assert socket.gethostname() in shown
    assert main(flags) == 0
    assert "1 of 2 tars" in (shown := capsys.readouterr().out)
    assert socket.gethostname() not in shown


def test_a_sweep_in_a_bucket_is_watched_from_the_folder_above(
    data: ObjectPath, root: ObjectPath, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(data, root / "sweep", model, "--timesteps=[100,200]")) == 0
    capsys.readouterr()
    assert main(["watch", f"--data={data}", f"--cache={root / 'sweep'}"]) == 0
    assert "2 of 2 tars" in capsys.readouterr().out
