"""How two things are compared: by medians whose range is told. `workflow.timing` reads them in turns."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from bench.config import BenchConfig
from workflow.timing import timed


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
    target: str = ""
    """What it should be, if that was said beforehand."""

    @property
    def low(self) -> float:
        """Lowest reading."""
        return min(self.runs)

    @property
    def high(self) -> float:
        """Highest reading."""
        return max(self.runs)


def reading(measure: str, runs: Sequence[float], unit: str, against: str = "", target: str = "") -> Figure:
    """A figure that is the median of its readings."""
    return Figure(measure, statistics.median(runs), unit, list(runs), against, target)


def ratio(
    measure: str, numerators: Sequence[float], denominators: Sequence[float], against: str = "", target: str = ""
) -> Figure:
    """A figure that is the ratio of two sides' medians; its readings are the ratios of neighbouring runs.

    Raises:
        ValueError: If the sides were not run equally often.
    """
    pairs = [n / d for n, d in zip(numerators, denominators, strict=True)]
    return Figure(measure, statistics.median(numerators) / statistics.median(denominators), "×", pairs, against, target)


def rates(amount: float, seconds: Sequence[float]) -> list[float]:
    """Amount a second, of each run."""
    return [amount / s for s in seconds]


def device_timed(work: Callable[[], object], device: torch.device) -> Callable[[], float]:
    """As `timed`, with what the work queues on a GPU."""
    return timed(work, wait=partial(torch.cuda.synchronize, device) if device.type == "cuda" else None)


def peak_gpu_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Most GPU memory that some work held at once, above what was held before it (the weights)."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
