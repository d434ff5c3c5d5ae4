"""The machine that figures are from, and the means to hold work to one of its cores."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
"""Environment of a child process whose libraries compute in one thread."""
_LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow", "zarr", "numcodecs")


@contextmanager
def one_core() -> Iterator[None]:
    """Hold this process, whatever threads it has or starts, to one core, and torch to one thread.

    Without it the threads that write stores, or compress them, would add a second core to "a core".
    """
    threads = torch.get_num_threads()
    cores = _allowed_cores()
    torch.set_num_threads(1)
    _pin({min(cores)} if cores else cores)
    try:
        yield
    finally:
        _pin(cores)
        torch.set_num_threads(threads)


def _allowed_cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _pin(cores: set[int]) -> None:
    if not cores:  # not Linux
        return
    # The system call is for one thread; only threads that are started later inherit from theirs.
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except ProcessLookupError:  # it ended meanwhile
            continue


def run_child(module: str, settings: Mapping[str, Any]) -> str:
    """What a module prints that is run as a program of its own, in one thread, with its settings as JSON.

    Raises:
        RuntimeError: If it fails. Its log lines are of no interest otherwise.
    """
    command = [sys.executable, "-m", module, json.dumps(settings)]
    environment = {**os.environ, **ONE_THREAD}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"python -m {module} ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Date, commit, hardware and versions, as JSON values.

    `load_average` is the number of busy processes before the run: above zero, others took part in what was measured.
    """
    described = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "changed_files": len((_git("status", "--porcelain") or "").splitlines()),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(_allowed_cores()) or os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {library: version(library) for library in _LIBRARIES},
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        described["gpu"] = {"name": properties.name, "bytes": properties.total_memory, "cuda": torch.version.cuda}
    return described


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return None


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
