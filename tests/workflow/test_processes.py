"""Commands in processes of their own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow.code_hash import ROOT
from workflow.processes import do_at_once, run_module

SLEEPER = """
import os, pathlib, sys, time

signs = pathlib.Path(sys.argv[2])
try:
    (signs / str(os.getpid())).touch()
    time.sleep(600)
except KeyboardInterrupt:
    (signs / "interrupted").touch()
"""
PROGRAM = """
import sys
from functools import partial
from cache_schema.program import exit_on_sigterm
from workflow.processes import do_at_once, run_module

exit_on_sigterm()
signs, num_jobs = sys.argv[1:]
do_at_once([partial(run_module, "sleeper", "sleep", signs) for _ in range(3)], int(num_jobs))
"""


@pytest.mark.parametrize("num_jobs", [1, 2])
@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGTERM, os.kill), (signal.SIGINT, os.kill), (signal.SIGINT, os.killpg)],
    ids=["kill", "Ctrl-C to it alone", "Ctrl-C in a terminal"],
)
def test_commands_end_with_the_process_that_waits_for_them(
    tmp_path: Path, num_jobs: int, number: int, send: Callable[[int, int], None]
) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    signs = tmp_path / "signs"
    signs.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    command = [sys.executable, "-c", PROGRAM, str(signs), str(num_jobs)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            wait_until(lambda: len([*signs.iterdir()]) == num_jobs)
            send(process.pid, number)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    assert len([*signs.iterdir()]) == num_jobs  # none began after it, and none was interrupted before it was ended
    for sign in signs.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(sign.name), 0)


def test_after_a_failure_none_begins_and_those_that_have_begun_end_well() -> None:
    done, both = list[str](), threading.Barrier(2)

    def fail() -> None:
        both.wait(timeout=60)
        raise RuntimeError("no")

    def work() -> None:
        both.wait(timeout=60)
        time.sleep(0.2)  # long after the failure
        done.append("work")

    def too_late() -> None:
        time.sleep(1)
        done.append("too late")

    with pytest.raises(RuntimeError, match="no"):
        do_at_once([fail, work, *[too_late] * 9], 2)
    assert done.count("work") == 1 and done.count("too late") <= 1  # which the failing one's thread may have taken up


def test_the_status_of_a_command_that_fails_is_told() -> None:
    with pytest.raises(RuntimeError, match="python -m cache_schema nonsense ended with status 2, see above"):
        run_module("cache_schema", "nonsense")


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, half a minute at most."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
