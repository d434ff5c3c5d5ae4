import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cache_schema import WorkerLost
from cache_schema.workers import run_tasks

ROOT = Path(__file__).resolve().parents[2]
TASKS = [(n,) for n in range(6)]


def half(n: int) -> int:
    if n == 3:
        raise ValueError("three is odd")
    return n // 2


def end_at_three(n: int) -> int:
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_outcomes_come_in_the_order_of_the_tasks_with_errors_in_their_place() -> None:
    for num_workers in (1, 2):
        outcomes = list(run_tasks(half, TASKS, num_workers, "task"))
        assert isinstance(outcomes[3], ValueError) and str(outcomes[3]) == "three is odd"
        assert outcomes[:3] + outcomes[4:] == [0, 0, 1, 2, 2]


def test_a_killed_worker_is_told_for_every_task_that_was_not_finished() -> None:
    outcomes = list(run_tasks(end_at_three, TASKS, 2, "task"))
    assert len(outcomes) == 6
    assert isinstance(outcomes[3], WorkerLost) and "fewer --num_workers" in str(outcomes[3])
    assert all(outcome == n or isinstance(outcome, WorkerLost) for n, outcome in enumerate(outcomes))


class EndsWhileItIsSent:
    """A result whose worker is told to end while it sends it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[type, tuple[int]]:
        os.kill(os.getpid(), signal.SIGTERM)
        return EndsWhileItIsSent, (self.number,)


def test_a_worker_that_is_told_to_end_sends_its_result_whole_and_begins_no_task() -> None:
    """The pool takes an exception for a result there, and waits for the rest of one that was cut off."""
    outcomes = list(run_tasks(EndsWhileItIsSent, TASKS, 2, "task"))
    numbers = [outcome.number for outcome in outcomes if isinstance(outcome, EndsWhileItIsSent)]
    assert 1 <= len(numbers) <= 2  # of each worker one
    assert len(outcomes) == 6 and sum(isinstance(outcome, WorkerLost) for outcome in outcomes) == 6 - len(numbers)


WAITS = """
import sys
from cache_schema.program import run_as_process, run_program
from cache_schema.workers import run_tasks
from tests.cache_schema.test_workers import wait

def main():
    def work():
        for outcome in run_tasks(wait, [(sys.argv[1], n) for n in map(int, sys.argv[2:])], 2, "task"):
            print(outcome)
        return 0
    return run_program(work)

if __name__ == "__main__":
    run_as_process(main)
"""


def wait(folder: str, n: int) -> None:
    """A task of which nobody sees the end; below 0 one that is done at once."""
    started = Path(folder) / str(n)
    try:
        started.touch()
        time.sleep(3600 if n >= 0 else 0)
    finally:
        started.rename(started.with_suffix(".cleaned"))


def has_workers(pid: int, _: Path) -> bool:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children) == 2


def are_at_work(_: int, folder: Path) -> bool:
    return len([*folder.iterdir()]) == 2


def is_idle(_: int, folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} == {"0", "-1.cleaned"}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes where Linux shows them")
@pytest.mark.parametrize(
    ("is_time", "tasks"), [(has_workers, "0 1 2 3 4 5"), (are_at_work, "0 1 2 3 4 5"), (is_idle, "0 -1")]
)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_stopped_ends_its_workers_in_order(
    tmp_path: Path, number: int, status: int, is_time: Callable[[int, Path], bool], tasks: str
) -> None:
    """Ctrl-C goes to the whole group, as a terminal sends it; SIGTERM to the command alone, as kill does."""
    command = [sys.executable, "-c", WAITS, str(tmp_path), *tasks.split()]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not is_time(process.pid, tmp_path):
                assert process.poll() is None, "it was through before it could be stopped"
                time.sleep(0.001)
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            _, text = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == status and text == ("stopped by Ctrl-C\n" if number == signal.SIGINT else "")
    if is_time is not has_workers:
        assert sorted(path.suffix for path in tmp_path.iterdir()) == [".cleaned", ".cleaned"]


def test_no_tasks_are_no_outcomes() -> None:
    assert list(run_tasks(half, [], 4, "task")) == []


LOST_READER = """
import socket
import sys
from multiprocessing.resource_sharer import DupFd
from cache_schema import allow_lost_reader

if sys.argv[1] == "allowed":
    allow_lost_reader(0)
handed_over = DupFd(0)
reader = socket.socket(socket.AF_UNIX)
reader.connect(handed_over._id[0])
reader.close()  # what it was sent is unread: the other side's connection is reset
print(handed_over.detach() > 0)  # the thread serves one after the other: it is done with the first
"""


@pytest.mark.parametrize(("hook", "is_told"), [("allowed", False), ("pythons", True)])
def test_a_worker_whose_reader_ends_within_a_handover_prints_nothing_and_serves_the_next(
    hook: str, is_told: bool
) -> None:
    command = [sys.executable, "-c", LOST_READER, hook]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout == "True\n", done.stderr
    assert ("Traceback" in done.stderr) == is_told, done.stderr


FORKED = """
import os
from cache_schema import fork_server
from tests.cache_schema.test_workers import tell_server

process = fork_server(["cache_schema"]).Process(target=tell_server)
process.start()
process.join()
"""


def tell_server() -> None:
    loaded = "loaded" if "pyarrow" in sys.modules else "empty"
    os.write(1, f"{loaded}, threads {len(os.listdir(f'/proc/{os.getppid()}/task'))}\n".encode())


def test_a_fork_server_has_its_modules_and_one_thread() -> None:
    """In a process of its own: this one may have a fork server of another test."""
    done = subprocess.run([sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout == "loaded, threads 1\n", done.stdout + done.stderr
