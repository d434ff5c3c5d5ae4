"""Seconds of several works, read in turns, so that whatever slows the machine down slows all of them."""

import gc
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name")


def timed(
    work: Callable[[], object],
    *,
    wait: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[], float]:
    """A side of a comparison whose reading is the seconds that some work takes.

    Args:
        work: What is measured.
        wait: Waits for what the work queues on a device; called before and after, the second time while the clock runs.
        clock: Seconds.
    """

    def read() -> float:
        if wait is not None:
            wait()
        start = clock()
        work()
        if wait is not None:
            wait()
        return clock() - start

    return read


def alternate(
    sides: Mapping[Name, Callable[[], float]], num_runs: int, *, warm_up: bool = True
) -> dict[Name, list[float]]:
    """Run all sides in turns, and read each as often as wanted.

    Every second turn goes backwards, so that a machine that gets slower, or faster, favours no side.

    Args:
        sides: Name → one run that gives its reading.
        num_runs: Readings a side.
        warm_up: Whether each side is run once before, without being read.

    Returns:
        Name → readings; reading i of one side stands beside reading i of the others.
    """
    if warm_up:
        for side in sides.values():
            side()
    readings: dict[Name, list[float]] = {name: [] for name in sides}
    for turn in range(num_runs):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            gc.collect()  # one side's garbage is not the next side's work
            readings[name].append(sides[name]())
    return readings
