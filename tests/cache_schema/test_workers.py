import os
import signal
import subprocess
import sys
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

    def __reduce__(self) -> tuple[type, tuple[()]]:
        os.kill(os.getpid(), signal.SIGTERM)
        return EndsWhileItIsSent, ()


def give_such_a_result(n: int) -> object:
    return EndsWhileItIsSent() if n == 3 else n


def test_a_worker_ends_on_sigterm_between_two_tasks_too() -> None:
    """The pool takes an exception for a result there: the worker would go on, and the command would wait for it."""
    outcomes = list(run_tasks(give_such_a_result, TASKS, 2, "task"))
    assert len(outcomes) == 6 and isinstance(outcomes[3], WorkerLost)


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
