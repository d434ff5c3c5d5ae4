"""Whether a long job needs more memory than a short one: the peak of child processes that extract 2 and 20 tars."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.data.pictures import make_jpegs, pack_jpegs
from bench.machine import run_child
from bench.runner import Context, Figure, ratio, reading
from workflow.timing import alternate

NAME = "memory_20_over_2"
PICTURE_PX = 160
"""Long side of the JPEG files: memory does not depend on it, and making and decoding them takes time."""


def extract_in_child(settings: dict[str, Any]) -> float:
    """Peak memory in MiB of a process that runs an extraction, with its workers.

    Args:
        settings: Of `ExtractConfig`.

    Raises:
        RuntimeError: If it fails.
    """
    return float(run_child("bench.measures.memory_child", settings)) / 2**20


def measure_memory(context: Context) -> list[Figure]:
    """Peak memory of the long job over the peak of the short one, with the default number of workers and with none."""
    config = context.config
    short, long = config.tars_compared
    jpegs = list(make_jpegs(long * config.memory_rows, PICTURE_PX))
    dataset = pack_jpegs(context.folder.resolve() / "data", jpegs, config.memory_rows)

    def job(num_tars: int, num_workers: int) -> Callable[[], float]:
        settings = {
            "data": str(dataset.folder),
            "model": str(Path(config.toy_model).resolve()),
            "image_size": config.toy_image_size,
            "ensemble_size": 1,
            "shard": f"0-{num_tars - 1}",
            "num_workers": num_workers,
            "device": "cpu",
        }
        # A new cache each time, or its stores would be there already.
        return lambda: extract_in_child({**settings, "cache": str(dataset.folder.with_name(f"cache-{uuid4().hex}"))})

    what = f"peak memory, {long} tars over {short}"
    figures = []
    for num_workers, name in ((2, NAME), (0, f"{NAME}.no_workers")):
        sides = {"short": job(short, num_workers), "long": job(long, num_workers)}
        peaks = alternate(sides, config.runs, warm_up=False)
        text = f"{what}; {num_workers} workers, {config.memory_rows} images a tar"
        figures.append(ratio(name, peaks["long"], peaks["short"], text, target="≤ 1.1"))
        more = [b - a for a, b in zip(peaks["short"], peaks["long"], strict=True)]
        figures.append(reading(f"{name}.short", peaks["short"], "MiB", f"peak of {short} tars"))
        figures.append(reading(f"{name}.more", more, "MiB", f"what {long - short} more tars add"))
    return figures
