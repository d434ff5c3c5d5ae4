"""How long a training loader's workers take to their first batch, by each way of starting a process."""

import json
from functools import partial

from bench.machine import run_child
from bench.measures.loader import Epochs
from bench.runner import Context, Figure, reading
from workflow.timing import alternate

METHODS = ("fork", "forkserver", "spawn")
NUM_IMAGES = 1024


def first_batches(settings: dict[str, object]) -> tuple[float, float]:
    """Seconds to the first batch of a process's first loader, and of its next one.

    Args:
        settings: Of `LareDataModule`.

    Raises:
        RuntimeError: If the process fails.
    """
    first, later = json.loads(run_child("bench.measures.workers_child", settings))
    return first, later


def measure_worker_start(context: Context, num_images: int = NUM_IMAGES) -> list[Figure]:
    """Seconds to the first batch by fork, forkserver and spawn: of a process's first loader, and of the next one."""
    epochs = Epochs(context.folder.resolve(), num_images)
    num_workers = context.config.start_workers
    shared = {"data": str(epochs.dataset.folder), "cache": str(epochs.cache.folder), "num_workers": num_workers}
    next_ones: dict[str, list[float]] = {method: [] for method in METHODS}

    def start(method: str) -> float:
        first, later = first_batches({**shared, "start_method": method})
        next_ones[method].append(later)
        return first

    first_ones = alternate({method: partial(start, method) for method in METHODS}, context.config.runs, warm_up=False)
    what = f"{num_workers} workers, seconds to the first batch"
    figures = []
    for loader, seconds in (("first", first_ones), ("next", next_ones)):
        for method in METHODS:
            name = f"worker_start.{method}_{loader}"
            figures.append(reading(name, seconds[method], "s", f"{what} of the {loader} loader of a process"))
    return figures
