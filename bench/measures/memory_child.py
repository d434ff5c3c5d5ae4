"""`python -m bench.measures.memory_child SETTINGS`: runs an extraction, then prints its peak memory in bytes."""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from extract import ExtractConfig, Job


def peak_bytes(num_workers: int) -> int:
    """Most memory that this process held so far, plus the largest worker's as often as there are workers.

    Pages that workers share with this process count for each of them: an upper bound.
    """
    largest_worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if num_workers else 0
    return _own_peak_bytes() + num_workers * largest_worker * _maxrss_unit()


def _own_peak_bytes() -> int:
    # Linux carries ru_maxrss over from the process that started this one, which is the larger of the two; VmHWM begins
    # anew with the program.
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _maxrss_unit()


def _maxrss_unit() -> int:
    return 1 if sys.platform == "darwin" else 1024


def main(settings: dict[str, Any]) -> None:
    """Extract in one thread, and write the peak."""
    torch.set_num_threads(1)
    config = ExtractConfig(**settings)
    Job.prepare(config).run()
    sys.stdout.write(f"{peak_bytes(config.num_workers)}\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
