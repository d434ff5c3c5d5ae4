import os
import signal

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
