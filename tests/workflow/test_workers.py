"""Commands in forked processes: what they say, how far they are, how they end."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from workflow.processes import do_at_once
from workflow.workers import Workers, _Lines

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
import multiprocessing, signal, sys, time
from workflow.progress import tell

def main(verb):
    import torch
    print("argument", sys.argv[1:], "threads", torch.get_num_threads())
    print("to stderr", file=sys.stderr)
    print("starts by", multiprocessing.get_start_method())
    if verb == "fail":
        sys.exit("this went wrong")
    if verb == "linger":
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(2), sys.exit(1)))
    if verb in ("sleep", "linger"):
        open(sys.argv[2], "w").close()
        time.sleep(600)
    for done in (1, 2):
        tell(done, 2)

if __name__ == "__main__":
    main(sys.argv[1])
"""

pytestmark = pytest.mark.slow  # the libraries are imported once for all


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.told: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    def say(self, line: str) -> None:
        self.lines.append(line)
        self.threads.add(threading.get_ident())

    def tell(self, done: int, total: int) -> None:
        self.told.append((done, total))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "somebody"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "__main__.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder.name


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def workers(heard: Heard) -> Iterator[Workers]:
    with Workers(("torch", "workflow.progress"), heard.say, heard.tell) as made:
        yield made


def test_command_runs_as_by_itself_and_is_heard(
    workers: Workers, heard: Heard, package: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        workers.run(package, "work", Path("a b"))
    assert [*filter(lambda r: "python -m" in r, caplog.messages)] == [f"python -m {package} work 'a b'"]
    threads = torch.get_num_threads()
    assert f"argument ['work', 'a b'] threads {threads}" in heard.lines and "to stderr" in heard.lines
    assert f"starts by {multiprocessing.get_start_method()}" in heard.lines
    assert heard.told == [(1, 2), (2, 2)] and heard.threads == {threading.get_ident()}
    heard.lines.clear()
    workers.run(package, "work", share=os.cpu_count() or 1)
    assert any(line.endswith("threads 1") for line in heard.lines)


def test_command_that_fails_is_an_error_and_the_next_one_runs(workers: Workers, heard: Heard, package: str) -> None:
    with pytest.raises(RuntimeError, match=f"python -m {package} fail ended with status 1"):
        workers.run(package, "fail")
    assert "this went wrong" in heard.lines
    workers.run(package, "work")


def test_ctrl_c_ends_the_commands_that_run(workers: Workers, package: str, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def press() -> None:
        while not begun.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        workers.run(package, "sleep", begun)
    assert time.monotonic() - start < 300
    assert not workers._running


def test_ctrl_c_ends_commands_of_several_threads_and_none_begins(
    workers: Workers, package: str, tmp_path: Path
) -> None:
    begun = [tmp_path / f"begun {n}" for n in range(4)]

    def press() -> None:
        while not (begun[0].exists() and begun[1].exists()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    workers.start()
    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        # While the second one ends, the thread of the first one is free.
        verbs = ("sleep", "linger", "sleep", "sleep")
        do_at_once([partial(workers.run, package, verb, sign) for verb, sign in zip(verbs, begun, strict=True)], 2)
    assert not workers._running and [sign.exists() for sign in begun] == [True, True, False, False]


STOPPED = """
import sys
from workflow.workers import Workers

try:
    with Workers(["slow_to_load"], print, print) as workers:
        workers.run("sleeper", sys.argv[1])
except KeyboardInterrupt:
    sys.exit("stopped")
"""
SLOW_TO_LOAD = """
import pathlib, time

pathlib.Path("loading").touch()
time.sleep(3)
"""
SLEEPER = """
import pathlib, time

try:
    pathlib.Path("at work").touch()
    time.sleep(600)
except KeyboardInterrupt:
    pathlib.Path("interrupted").touch()
"""


@pytest.mark.parametrize("moment", ["loading", "at work"])
def test_ctrl_c_in_a_terminal_is_left_to_the_process_that_waits(tmp_path: Path, moment: str) -> None:
    """A terminal sends it to the whole group of processes: a command that it and then SIGTERM ends may hang."""
    (tmp_path / "slow_to_load.py").write_text(SLOW_TO_LOAD)
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    command = [sys.executable, "-c", STOPPED, "work"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            while not (tmp_path / moment).exists():
                assert process.poll() is None, "it was through before it could be stopped"
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGINT)
            _, text = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 1 and text == "stopped\n"
    assert not (tmp_path / "interrupted").exists()


ONE_THREAD = """
from demo.run import LIBRARIES
from tests.workflow.test_workers import count_threads
from workflow.workers import Workers

with Workers(LIBRARIES, print, print) as workers:
    workers._run(count_threads, ())
"""


def count_threads() -> None:
    """Threads of the process that this one was forked from."""
    loaded = "loaded" if "lightning" in sys.modules else "empty"
    sys.stdout.write(f"{loaded}, threads {len(os.listdir(f'/proc/{os.getppid()}/task'))}\n")


def test_process_that_is_forked_has_one_thread() -> None:
    """Of the demo's own libraries none may begin a thread while it is imported.

    In a process of its own: this one may have a fork server of another test.
    """
    done = subprocess.run([sys.executable, "-c", ONE_THREAD], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "loaded, threads 1" in done.stdout.splitlines(), done.stdout + done.stderr


def test_lines_are_whole_and_bars_are_left_out() -> None:
    lines = _Lines()
    assert [*lines.add(b"one\ntw")] == ["one"]
    assert [*lines.add(b"o\r\nover\rwritten\n\n")] == ["two", "written"]
    assert [*lines.add("\x1b[31mred\x1b[0m\n 50%|███  | 1/2 [00:01<00:01,  1.0it/s]\n".encode())] == ["red"]
    assert [*lines.add("cut sh\xe4rt \xff".encode()[:-1])] == [] and next(lines.add(b"")).startswith("cut sh")
