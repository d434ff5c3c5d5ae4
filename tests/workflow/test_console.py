"""Steps as a person sees them, elsewhere than on a terminal; tests/demo/test_terminal.py has the terminal."""

import io
import logging
import warnings
from pathlib import Path

import pytest

from workflow.console import NUM_LAST_LINES, Console
from workflow.steps import Steps


def test_step_is_two_lines_and_the_rest_goes_to_the_log(tmp_path: Path) -> None:
    stream, before = io.StringIO(), logging.getLogger().handlers[:]
    with Console(tmp_path / "out" / "log.txt", {"maps": "LaRE maps"}, stream) as console:
        with console.step("maps"):
            logging.getLogger("a library").warning("advice")
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn("deprecated", stacklevel=1)
            console.say("a line of a command")
        console.skip("maps")
    first, second, third = stream.getvalue().splitlines()
    assert first == "LaRE maps …" and second.startswith("LaRE maps: ") and second.endswith(" s")
    assert third == "LaRE maps: done already"
    log = (tmp_path / "out" / "log.txt").read_text()
    assert all(text in log for text in ("advice", "deprecated", "a line of a command", "maps: done already"))
    assert logging.getLogger().handlers == before


def test_failed_step_shows_the_last_lines_of_its_own(tmp_path: Path) -> None:
    stream, log = io.StringIO(), tmp_path / "log.txt"

    def fail() -> None:
        for n in range(100):
            console.say(f"line {n}")
        raise RuntimeError("ended with status 1")

    with pytest.raises(RuntimeError), Console(log, {"fit": "training"}, stream) as console:
        Steps(tmp_path, console).run("fit", [tmp_path / "x"], 0, fail)
    *_, ended, failed = stream.getvalue().split("training", 2)[0:1] + stream.getvalue().split("training")[2:4]
    assert "failed after" in ended and str(log) in failed
    shown = [line.strip() for line in failed.splitlines()[1:]]
    assert shown == [f"line {n}" for n in range(100 - NUM_LAST_LINES, 100)]
    assert len(log.read_text().splitlines()) > 100


def test_ctrl_c_is_no_failure(tmp_path: Path) -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Console(tmp_path / "log.txt", {}, stream) as console, console.step("fit"):
        console.say("secret")
        raise KeyboardInterrupt
    assert "fit: stopped after" in stream.getvalue() and "secret" not in stream.getvalue()


def test_what_the_encoding_lacks_is_no_reason_to_fail(tmp_path: Path) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with Console(tmp_path / "log.txt", {"maps": "LaRE²"}, stream) as console, console.step("maps"):
        console.say("weights: 100 % ━━")
    assert raw.getvalue().startswith(b"LaRE\\xb2")
    assert "━" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_log_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear\n")
    (tmp_path / "log.txt").symlink_to(tmp_path / "letter")
    with pytest.raises(OSError, match="a symbolic link, which is not followed here"), Console(tmp_path / "log.txt", {}):
        pass
    assert (tmp_path / "letter").read_text() == "dear\n"
