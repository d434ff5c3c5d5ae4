import os
import signal
import subprocess
import sys
from pathlib import Path

from cache_schema.workers import WorkerLost, run_tasks

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
    assert isinstance(outcomes[3], WorkerLost) and "fewer --workers" in str(outcomes[3])
    assert all(outcome == n or isinstance(outcome, WorkerLost) for n, outcome in enumerate(outcomes))


def test_no_tasks_are_no_outcomes() -> None:
    assert list(run_tasks(half, [], 4, "task")) == []


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
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", FORKED], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.stdout == "loaded, threads 1\n", done.stdout + done.stderr
