"""Progress files: what a task writes, when it is removed, and that another task's tars are not made twice."""

import json
import os
import time
from pathlib import Path

import pytest

from cache_schema import Dataset, open_cache
from extract.config import ExtractConfig
from extract.run import progress
from extract.run.job import Job
from extract.run.progress import FOLDER, ProgressFile, load_progress, remove_old, task_name
from tests.extract.conftest import Run


@pytest.fixture(autouse=True)
def write_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "WRITE_EVERY_SEC", 0.0)
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


def test_a_task_tells_how_far_it_is_and_removes_its_file(tmp_path: Path) -> None:
    with ProgressFile(tmp_path, num_tars=2, num_images=10) as file:
        file.start_tar("train-000000.tar")
        file.add_images(4)
        file.finish_tar(["truncated (3 bytes of 17)", "truncated (5 bytes of 90)"])
        file.skip_tar(5)
        (seen,) = load_progress(tmp_path)
        assert (seen.tar, seen.tars_done, seen.images_done, seen.images_left) == ("train-000000.tar", 2, 9, 1)
        assert seen.rejected == {"truncated (# bytes of #)": 2}
        assert seen.images_per_second == pytest.approx(4 / (seen.updated - seen.started))
        assert seen.seconds_left == pytest.approx(1 / seen.images_per_second)
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_fails_leaves_the_error_and_one_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), ProgressFile(tmp_path, 1, 1):
        raise ValueError("no such thing")
    assert [p.error for p in load_progress(tmp_path)] == ["ValueError: no such thing"]
    with pytest.raises(SystemExit), ProgressFile(tmp_path, 1, 1):
        raise SystemExit(143)
    assert list(tmp_path.iterdir()) == []


def test_files_are_written_at_most_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "WRITE_EVERY_SEC", 3600.0)
    with ProgressFile(tmp_path, 1, 10) as file:
        file.add_images(5)
        assert load_progress(tmp_path)[0].images_done == 0


def test_a_folder_that_cannot_be_written_to_does_not_stop_the_work(tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    with ProgressFile(tmp_path, 1, 1) as file:
        file.add_images(1)
    assert load_progress(tmp_path) == []


def test_broken_files_are_left_out_and_old_ones_removed(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "a.json").write_text("{")
    (folder / "b.json").write_text(json.dumps({"task": "b", "num_tars": 1, "num_images": 1, "of_later_versions": 1}))
    assert [p.task for p in load_progress(tmp_path)] == ["b"]
    os.utime(folder / "a.json", (0, time.time() - 100))
    remove_old(tmp_path, age_sec=50)
    assert [p.name for p in folder.iterdir()] == ["b.json"]


def test_names_tell_the_element_of_a_job_array(monkeypatch: pytest.MonkeyPatch) -> None:
    assert task_name().endswith(f"-{os.getpid()}")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert task_name().endswith(f"-12-{os.getpid()}")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert task_name().endswith(f"-10_3-{os.getpid()}")


def test_a_tar_that_another_job_has_published_meanwhile_is_skipped(
    packed: Dataset, models: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    config = ExtractConfig(
        data=str(packed.folder),
        cache=str(tmp_path / "cache"),
        model=str(models["sd"]),
        image_size=64,
        ensemble_size=2,
        num_workers=0,
        stored_dtype="float32",
        device="cpu",
    )
    job = Job.prepare(config)
    assert list(job.todo) == [0, 1]
    assert run(shard=0) == 0
    theirs = (tmp_path / "cache" / "train-000000.zarr.zip").stat()
    assert job.run() == 0
    assert (tmp_path / "cache" / "train-000000.zarr.zip").stat().st_ino == theirs.st_ino
    assert open_cache(tmp_path / "cache").shards() == ["train-000000.zarr.zip", "train-000001.zarr.zip"]
    assert not (tmp_path / "cache" / FOLDER).exists()


def test_a_folder_of_progress_that_is_a_link_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    somebody, cache = tmp_path / "somebody", tmp_path / "cache"
    somebody.mkdir()
    cache.mkdir()
    old = somebody / f"{task_name()}.json"
    old.write_text("{}")
    os.utime(old, (0, 0))
    (cache / FOLDER).symlink_to(somebody, target_is_directory=True)
    remove_old(cache, 60)
    with ProgressFile(cache, 1, 1) as file:
        file.add_images(1)
        assert [path.name for path in somebody.iterdir()] == [old.name]
    assert old.read_text() == "{}" and "it is a symbolic link" in caplog.text


def test_of_a_link_to_an_old_file_the_link_goes(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    (tmp_path / FOLDER).mkdir()
    link = tmp_path / FOLDER / "a.json"
    link.symlink_to(tmp_path / "letter")
    os.utime(link, (0, 0), follow_symlinks=False)
    remove_old(tmp_path, 60)
    assert not link.is_symlink() and (tmp_path / "letter").read_text() == "dear"
