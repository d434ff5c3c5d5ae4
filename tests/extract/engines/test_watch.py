"""Watching: what is shown of tasks that run, are silent or have failed, and of the stores that are there."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cache_schema import Dataset, write_dataset
from cache_schema.__main__ import main as main_of_cache
from extract.__main__ import main
from extract.engines.watch import Watch, WatchConfig, format_seconds
from extract.run.progress import FOLDER, Progress
from tests.extract.conftest import Run, make_images, pack
from tests.samples import make_sample

NOW = 1_800_000_000.0


def write_progress(cache: Path, task: str, **values: Any) -> None:
    (cache / FOLDER).mkdir(exist_ok=True)
    state = Progress(task, **{"num_tars": 4, "num_images": 20, "started": NOW - 100, "updated": NOW, **values})
    path = cache / FOLDER / f"{task}.json"
    path.write_text(json.dumps(asdict(state)))
    written = time.time() - (NOW - state.updated)  # at `NOW` it is so old
    os.utime(path, (written, written))


def test_it_shows_rates_time_left_and_the_slowest_task_first(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(shard=1) == 0
    cache = tmp_path / "cache"
    write_progress(cache, "fast-1", images_done=7, tars_done=2, tar="train-000003.tar", rejected={"x": 3})
    write_progress(cache, "slow-2", images_done=4, skipped=2)
    write_progress(cache, "dead-3", updated=NOW - 200, tar="train-000004.tar")
    write_progress(cache, "gone-4", error="ShardStale: has changed", tar="train-000005.tar")
    lines = Watch(WatchConfig(cache=str(cache), data=str(packed.folder))).snapshot(NOW).splitlines()
    assert lines == [
        f"{cache}: 1 of 2 tars, 2 of 7 images done; 2 tasks at 0.1 images/s, 56 s left",
        "task (slowest first)         tars  images/s      left  rejected  at",
        "slow-2                     0 of 4       0.0    13 min         0",
        "fast-1                     2 of 4       0.1     3 min         3  train-000003.tar",
        "silent for 3 min: dead-3, at train-000004.tar: hangs, or was killed",
        "failed: gone-4, at train-000005.tar: ShardStale: has changed",
    ]


@pytest.mark.parametrize("hours", [-5, 5])
def test_clocks_of_other_hosts_are_not_trusted(hours: int, packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(shard=1) == 0
    cache = tmp_path / "cache"
    write_progress(cache, "busy-1", images_done=10)
    write_progress(cache, "dead-2", updated=NOW - 200)
    for path in (cache / FOLDER).iterdir():  # as hosts write them whose clocks go wrong, at the same moments
        state = json.loads(path.read_text())
        written = path.stat()
        state |= {name: state[name] + 3600 * hours for name in ("started", "updated")}
        path.write_text(json.dumps(state))
        os.utime(path, (written.st_atime, written.st_mtime))
    watch = Watch(WatchConfig(cache=str(cache)))
    assert "1 tasks at 0.1 images/s" in watch.snapshot(NOW)
    assert "silent for 3 min: dead-2" in watch.snapshot(NOW)
    (cache / FOLDER).chmod(0o500)
    assert "1 tasks at 0.1 images/s" in watch.snapshot(NOW)
    (cache / FOLDER).chmod(0o700)
    assert not list((cache / FOLDER).glob(".clock*"))


def test_a_servers_clock_is_its_own(packed: Dataset, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(shard=1) == 0
    cache = tmp_path / "cache"
    write_progress(cache, "busy-1", images_done=10)
    for path in (cache / FOLDER).iterdir():  # the server is a day behind, for all files alike
        os.utime(path, (time.time() - 86400,) * 2)
    monkeypatch.setattr("extract.run.progress._file_system_time", lambda folder: time.time() - 86400)
    assert "1 tasks at 0.1 images/s" in Watch(WatchConfig(cache=str(cache))).snapshot(NOW)


def test_rejected_images_of_the_stores_are_counted_by_reason(run: Run, tmp_path: Path) -> None:
    images = make_images(4)
    images[1] = images[1][:100]
    samples = [make_sample(i, image=image) for i, image in enumerate(images)]
    write_dataset(tmp_path / "data", samples, {}, max_rows=2)
    assert run() == 3
    lines = Watch(WatchConfig(cache=str(tmp_path / "cache"))).snapshot(NOW).splitlines()
    assert lines[0] == f"{tmp_path / 'cache'}: 2 tars, 4 images done; 0 tasks at 0.0 images/s"
    assert lines[1] == "1 images rejected, numbers in the reasons as #:"
    assert "1 × PNG cannot be decoded" in lines[2]


def test_a_sweep_is_watched_from_the_folder_above(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(timesteps=[100, 200]) == 0
    text = Watch(WatchConfig(cache=str(tmp_path / "cache"), data=str(packed.folder))).snapshot(NOW)
    assert "2 of 2 tars, 7 of 7 images done" in text


def test_many_tasks_are_cut_to_the_slowest(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(shard=1) == 0
    for n in range(30):
        write_progress(tmp_path / "cache", f"task-{n}", images_done=n)
    text = Watch(WatchConfig(cache=str(tmp_path / "cache"))).snapshot(NOW)
    assert "task-19 " in text and "task-20 " not in text and "… and 10 faster tasks" in text


def test_the_command_ends_when_all_is_done_and_shows_once_what_is_not(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = pack(tmp_path / "data", list(range(7)))
    flags = [f"--cache={tmp_path / 'cache'}", f"--data={dataset.folder}"]
    assert main(["watch", *flags]) == 1
    assert "holds no cache.json" in capsys.readouterr().err
    assert run(shard=0) == 0
    assert main(["watch", *flags, "--once=true"]) == 0
    assert "1 of 2 tars" in capsys.readouterr().out
    assert run() == 0
    assert main(["watch", *flags]) == 0
    assert "2 of 2 tars" in capsys.readouterr().out


def test_it_loads_no_torch() -> None:
    code = "import sys, extract.engines.watch, extract.engines.slurm; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99, "99 s"), (720, "12 min"), (9000, "2.5 h"), (200000, "2.3 days")]
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "Expecting property name"),
        (b"[1]", "expected an object"),
        (b"[" * 100_000, "lie in one another"),
        (b"\xff", "can't decode byte"),
        (b'{"task": "a"}', "it has no num_images and no num_tars"),
        (b'{"task": "a", "num_tars": 1, "num_images": "1"}', "num_images is not what a task writes"),
        (b'{"task": "a", "num_tars": 1, "num_images": 1e400}', "num_images is not what a task writes"),
        (b'{"task": "a", "num_tars": 1, "num_images": NaN}', "num_images is not what a task writes"),
        (
            b'{"task": "a", "num_tars": 1, "num_images": 1, "rejected": {"x": "y"}}',
            "rejected is not what a task writes",
        ),
        (b'{"task": "a", "num_tars": 1, "num_images": 1, "updated": null}', "updated is not what a task writes"),
        (b'{"task": ["a"], "num_tars": 1, "num_images": 1}', "task is not what a task writes"),
        (b" " * (2**20 + 1), "it is larger than a file of its kind"),
    ],
)
def test_a_progress_file_that_no_task_wrote_is_named_and_the_others_are_shown(
    content: bytes, words: str, packed: Dataset, run: Run, tmp_path: Path
) -> None:
    assert run(shard=1) == 0
    cache = tmp_path / "cache"
    write_progress(cache, "good-1", images_done=4)
    bad = cache / FOLDER / "bad.json"
    bad.write_bytes(content)
    lines = Watch(WatchConfig(cache=str(cache), data=str(packed.folder))).snapshot(NOW).splitlines()
    assert lines[2].startswith("good-1") and len(lines) == 4
    assert lines[3].startswith(f"{bad} cannot be read (") and words in lines[3]


def test_pipes_folders_devices_and_damaged_stores_are_named(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run() == 0
    cache = tmp_path / "cache"
    write_progress(cache, "good-1")
    os.mkfifo(cache / FOLDER / "pipe.json")
    (cache / FOLDER / "folder.json").mkdir()
    (cache / FOLDER / "zero.json").symlink_to("/dev/zero")
    store = cache / "train-000000.zarr.zip"
    store.write_bytes(store.read_bytes()[:100])
    text = Watch(WatchConfig(cache=str(cache), data=str(packed.folder))).snapshot(NOW)
    store.unlink()
    os.mkfifo(store)
    assert f"{store} is damaged" in Watch(WatchConfig(cache=str(cache))).snapshot(NOW)
    assert main_of_cache(["status", f"--data={packed.folder}", f"--cache={cache}"]) == 1  # and does not hang
    assert "2 of 2 tars, 2 of 7 images done; 1 tasks" in text
    assert f"train-000000.zarr.zip cannot be read: {store} is damaged" in text
    for name, kind in (("pipe", "a named pipe"), ("folder", "a folder"), ("zero", "a device")):
        assert f"{name}.json cannot be read (it is {kind}: expected a plain file)" in text


def test_a_folder_of_progress_that_leads_elsewhere_is_named_and_not_read(
    packed: Dataset, run: Run, tmp_path: Path
) -> None:
    assert run() == 0
    write_progress(tmp_path, "secret-1")
    (tmp_path / "cache" / FOLDER).symlink_to(tmp_path / FOLDER, target_is_directory=True)
    text = Watch(WatchConfig(cache=str(tmp_path / "cache"))).snapshot(NOW)
    assert "secret-1" not in text and "it is a symbolic link, which is not followed here" in text


def test_what_tasks_say_is_shown_as_text_and_in_bounds(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run() == 0
    cache, evil = tmp_path / "cache", "\x1b]0;owned\x07\x1b[2J\u202e"
    write_progress(cache, "a", tar=evil, rejected={evil: 1})
    write_progress(cache, "b", updated=NOW - 100, tar=evil)
    write_progress(cache, "c", error=evil + "x" * 500_000)
    state = Progress(evil + "n" * 500_000, num_tars=1, num_images=1, started=NOW - 1, updated=NOW)
    (cache / FOLDER / "d.json").write_text(json.dumps(asdict(state)))
    for number in range(50):
        write_progress(cache, f"e{number}", error="no")
    text = Watch(WatchConfig(cache=str(cache))).snapshot(NOW)
    assert not any(character in text for character in "\x1b\x07\u202e") and "\\x1b]0;owned\\x07" in text
    assert "… and 31 more like these" in text and max(map(len, text.splitlines())) < 5000


def test_of_a_sweep_the_first_cache_that_can_be_read_is_shown(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(timesteps=[100, 200]) == 0
    (tmp_path / "cache" / "t100-e2" / "cache.json").write_text("{")
    text = Watch(WatchConfig(cache=str(tmp_path / "cache"), data=str(packed.folder))).snapshot(NOW)
    assert "2 of 2 tars, 7 of 7 images done" in text
