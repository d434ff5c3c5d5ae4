"""The command at a terminal, and in a log."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detect.__main__ import main
from tests.detect.fakes import FakeDetector

Show = Callable[..., tuple[int, str, str]]


class Screen(io.StringIO):
    """A terminal of a hundred columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Runs the command at a terminal: exit status, standard output, standard error."""

    def run(*args: str) -> tuple[int, str, str]:
        out, error = Screen(), Screen()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", error)
            patched.setenv("COLUMNS", "100")
            patched.setenv("TERM", "xterm")
            status = main(["run", *args, "--detector", "d"])
        return status, out.getvalue(), error.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    return run


def test_a_terminal_shows_a_table(photos: Path, fake: FakeDetector, show: Show) -> None:
    status, out, error = show("photos")
    header, *lines = out.splitlines()
    assert header.split() == ["verdict", "P(generated)", "p_real", "picture"] and len(lines) == 12
    assert all(line.startswith("\x1b[") for line in lines)
    assert status == 3 and "12 pictures: " in error and "pictures/s" not in error


def test_a_terminal_without_colours_is_respected(
    photos: Path, fake: FakeDetector, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in show("photos")[1]


def test_one_picture_is_answered_in_sentences(photos: Path, fake: FakeDetector, show: Show) -> None:
    status, out, error = show("photos/00.png", "--maps", "maps")
    text = " ".join(out.split())
    assert text.startswith("photos/00.png: ") and "photographs like the validation ones" in text
    assert Path(text.partition("Error map, not proof: ")[2]).is_file()
    assert status == 0
    assert error == "Loading d and its diffusion model …\r\x1b[K"  # it is gone when the answer comes


def test_a_file_of_answers_has_a_bar(
    photos: Path, fake: FakeDetector, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detect.files.terminal.BAR_AFTER_SEC", 0.0)
    fake.seconds_a_picture = 0.03  # a bar is drawn ten times a second
    status, out, error = show("photos", "--out", "r.csv")
    assert (status, out) == (3, "") and " pictures/s" in error


def test_a_log_tells_how_far_it_is(
    photos: Path, fake: FakeDetector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("detect.files.terminal.TELL_EVERY_SEC", 0.0)
    assert main(["run", "photos", "--detector", "d", "--out", "r.csv"]) == 3
    assert "5 pictures, " in caplog.text and "pictures a second" in caplog.text
