"""A run that is stopped or killed goes on by the same command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from detect.__main__ import main
from tests.detect.fakes import FakeDetector
from tests.samples import make_sample

ROOT = Path(__file__).resolve().parents[3]


class Stopped:
    """A detector that is stopped before its nth answer."""

    def __init__(self, num: int, error: BaseException) -> None:
        self.inner, self.num, self.error = FakeDetector(), num, error
        self.description = self.inner.description

    def stream(self, pictures: Any) -> Any:
        for num, answer in enumerate(self.inner.stream(pictures)):
            if num == self.num:
                raise self.error
            yield answer


@pytest.mark.parametrize("num", [0, 1, 5, 11])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_stopped_run_goes_on_where_it_was(
    photos: Path,
    fake: FakeDetector,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    num: int,
    suffix: str,
) -> None:
    command = ["run", "photos", "--detector", "d", "--out"]
    assert main([*command, f"whole.{suffix}"]) == 3
    asked, fake.asked = fake.asked, []
    with monkeypatch.context() as patched:
        patched.setattr("detect.files.run.load_detector", lambda config: Stopped(num, KeyboardInterrupt()))
        assert main([*command, f"r.{suffix}"]) == 130
    assert f"Stopped after {num} picture" in capsys.readouterr().err
    assert not Path(f"r.{suffix}").exists()
    assert main([*command, f"r.{suffix}"]) == 3
    assert fake.asked == asked[num:]
    assert Path(f"r.{suffix}").read_bytes() == Path(f"whole.{suffix}").read_bytes()
    told = capsys.readouterr().err
    assert "12 pictures: " in told and "1 unreadable" in told
    assert (f"{num} of them were answered before" in told) == (num > 0)


def test_sigterm_keeps_what_is_answered(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detect.files.run.load_detector", lambda config: Stopped(3, SystemExit(143)))
    with pytest.raises(SystemExit) as ended:
        main(["run", "photos", "--detector", "d", "--out", "r.csv"])
    assert ended.value.code == 143
    assert len(Path("r.csv.part").read_bytes().splitlines()) == 1 + 3


def test_other_pictures_or_detectors_do_not_go_on(
    photos: Path, fake: FakeDetector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "photos", "--detector", "d", "--out", "r.csv"]
    with monkeypatch.context() as patched:
        patched.setattr("detect.files.run.load_detector", lambda config: Stopped(4, KeyboardInterrupt()))
        assert main(command) == 130
    kept = Path("r.csv.part").read_bytes()
    capsys.readouterr()
    assert main([*command, "--false_alarm_rate", "0.05"]) == 1
    assert "false_alarm_rate: 0.01 ≠ 0.05" in capsys.readouterr().err
    fake.identity = "f" * 64
    assert main(command) == 1
    assert f"detector: {'d' * 64} ≠ {'f' * 64}" in capsys.readouterr().err
    fake.identity = "d" * 64
    (photos / "01a.png").write_bytes(make_sample(1).image)
    assert main(command) == 1
    assert (
        "answer 3 of the stopped run is for photos/02.png, but picture 3 is now photos/01a.png"
        in capsys.readouterr().err
    )
    assert main(["run", "photos/00.png", "--detector", "d", "--out", "r.csv"]) == 1
    assert "is for photos/01.png, but there is no such picture now" in capsys.readouterr().err
    assert Path("r.csv.part").read_bytes() == kept and fake.asked == []


PROGRAM = """
import sys
import detect.files.run
from tests.detect.fakes import FakeDetector
fake = FakeDetector(seconds_a_picture=float(sys.argv.pop(1)))
detect.files.run.load_detector = lambda config: fake
from detect.__main__ import run_as_program
run_as_program()
"""


def start(folder: Path, seconds_a_picture: float, *args: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, str(seconds_a_picture), "run", *args]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, **options)


def wait_for_lines(path: Path, num: int) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < num:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_killed_again_and_again_equals_uninterrupted(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(60):
        (tmp_path / "photos" / f"{i:02}.png").write_bytes(make_sample(i).image)
    args = ("photos", "--detector", "d", "--out")
    with start(tmp_path, 0.0, *args, f"whole.{suffix}") as process:
        assert process.wait(60) == 0
    part = tmp_path / f"r.{suffix}.part"
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        num_lines = part.read_bytes().count(b"\n") if part.exists() else 0
        with start(tmp_path, 0.05, *args, f"r.{suffix}") as process:
            wait_for_lines(part, num_lines + 5)  # of its own: its handlers are there
            process.send_signal(number)
            status = process.wait(60)
        assert status == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        with part.open("ab") as file:
            file.write(b'{"name": "photos/cut')  # as if the system had taken a part of the last line
    with start(tmp_path, 0.0, *args, f"r.{suffix}") as process:
        assert process.wait(60) == 0
    assert (tmp_path / f"r.{suffix}").read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["photos", f"r.{suffix}", f"whole.{suffix}"]


@pytest.mark.slow
def test_a_closed_pipe_ends_the_command_quietly(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i:02}.png").write_bytes(make_sample(i).image)
    with start(tmp_path, 0.1, ".", "--detector", "d", stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


@pytest.mark.slow
def test_a_full_disk_stops_the_run_which_goes_on_later(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i:02}.png").write_bytes(make_sample(i).image)
    args = (".", "--detector", "d", "--out", "r.csv")
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n{PROGRAM}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", limited, "0.0", "run", *args]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: r.csv.part: file too large\n")
    assert (tmp_path / "r.csv.part").stat().st_size == 5000
    with start(tmp_path, 0.0, *args) as process:
        assert process.wait(60) == 0
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + 30
