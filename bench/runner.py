"""How two things are compared: alternately in one run, and by medians whose range is told."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.config import BenchConfig


@dataclass(frozen=True)
class Context:
    """What every measure gets."""

    config: BenchConfig
    folder: Path
    """Empty folder of this measure, removed after it."""

    @property
    def device(self) -> torch.device:
        """Where the models run."""
        return torch.device(self.config.device)


@dataclass(frozen=True)
class Figure:
    """One number with its noise."""

    measure: str
    """Name; the parts of a comparison are named `<measure>.<part>`."""
    value: float
    """Median of the runs; for a ratio, the ratio of the two sides' medians."""
    unit: str
    runs: Sequence[float]
    """The single readings; for a ratio, those of each pair of neighbouring runs."""
    against: str = ""
    """What it is compared with, or what the number is of."""
    hope: str = ""
    """What it should be, if that was said beforehand."""

    @property
    def low(self) -> float:
        """Lowest reading."""
        return min(self.runs)

    @property
    def high(self) -> float:
        """Highest reading."""
        return max(self.runs)


def reading(measure: str, runs: Sequence[float], unit: str, against: str = "", hope: str = "") -> Figure:
    """A figure that is the median of its readings."""
    return Figure(measure, statistics.median(runs), unit, list(runs), against, hope)


def ratio(
    measure: str, numerators: Sequence[float], denominators: Sequence[float], against: str = "", hope: str = ""
) -> Figure:
    """A figure that is the ratio of two sides' medians; its readings are the ratios of neighbouring runs.

    Raises:
        ValueError: If the sides were not run equally often.
    """
    pairs = [n / d for n, d in zip(numerators, denominators, strict=True)]
    return Figure(measure, statistics.median(numerators) / statistics.median(denominators), "×", pairs, against, hope)


def rates(amount: float, seconds: Sequence[float]) -> list[float]:
    """Amount a second, of each run."""
    return [amount / s for s in seconds]


def timed(work: Callable[[], object], device: torch.device | None = None) -> Callable[[], float]:
    """A side of a comparison whose reading is the seconds that some work takes, with what it queues on a GPU."""

    def run() -> float:
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        return time.perf_counter() - start

    return run


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def alternate(
    sides: Mapping[str, Callable[[], float]], num_runs: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
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
    readings: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(num_runs):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            gc.collect()  # one side's garbage is not the next side's work
            readings[name].append(sides[name]())
    return readings


def peak_gpu_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Most GPU memory that some work held at once, above what was held before it (the weights)."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
