"""Tasks on the devices of this machine: a process at a time on each, the next task to whichever is free."""

import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from extract.config import EXIT_TOO_MANY_REJECTED, ExtractConfig
from extract.engines.config import LaunchConfig

logger = logging.getLogger(__name__)

POLL_SEC = 0.2


class TaskFailed(OSError):
    """Tasks ended with an error; their tars are still to do."""


@dataclass(frozen=True)
class _Running:
    shards: str
    device: str
    process: subprocess.Popen[bytes]
    log: Path
    started: float


def run_local(config: LaunchConfig, settings: Path, tasks: Sequence[str], devices: Sequence[str]) -> bool:
    """Run tasks until all are done; one that fails does not keep the others from running.

    Args:
        config: Where logs go.
        settings: YAML file of the runs' settings.
        tasks: Tars of each task.
        devices: CUDA_VISIBLE_DEVICES of each process; "" for one on the CPU.

    Returns:
        Whether a task had more rejected images than allowed.

    Raises:
        TaskFailed: If tasks failed, once the others are done.
    """
    waiting, free, running = deque(tasks), list(devices), list[_Running]()
    failed: list[str] = []
    above = False
    try:
        while waiting or running:
            while waiting and free:
                running.append(_start(config, settings, waiting.popleft(), free.pop(0), len(devices)))
            time.sleep(POLL_SEC)
            for task in [task for task in running if task.process.poll() is not None]:
                running.remove(task)
                free.append(task.device)
                status = task.process.returncode
                above |= status == EXIT_TOO_MANY_REJECTED
                if status not in (0, EXIT_TOO_MANY_REJECTED):
                    failed.append(task.shards)
                _log_end(task, len(waiting) + len(running))
    finally:
        _end(running)
    if failed:
        raise TaskFailed(
            f"{len(failed)} of {len(tasks)} tasks failed (SHARD={','.join(failed)}); see the logs in "
            f"{config.logs_folder}. The same command again does what is missing."
        )
    return above


def _start(config: ExtractConfig, settings: Path, shards: str, device: str, num_processes: int) -> _Running:
    environment = {**os.environ}
    if config.device == "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = device
    else:
        # Processes that take all processors each would wait for one another.
        threads = max(1, len(os.sched_getaffinity(0)) // num_processes)
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    log = settings.parent / f"local-{os.getpid()}-{shards.replace(',', '_')[:60]}.log"
    command = [sys.executable, "-u", "-m", "extract", "run", f"--config={settings}", f"--shard={shards}"]
    with log.open("wb") as stream:
        process = _popen(command, environment, stream)
    logger.info("tars %s on %s: process %d, log %s", shards, device or "the CPU", process.pid, log)
    return _Running(shards, device, process, log, time.monotonic())


def _popen(command: Sequence[str], environment: dict[str, str], stream: BinaryIO) -> "subprocess.Popen[bytes]":
    # In a process group of its own: a Ctrl-C is this process's to hand on, as SIGTERM, which ends a run in order.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, process_group=0
    )


def _log_end(task: _Running, num_left: int) -> None:
    status, minutes = task.process.returncode, (time.monotonic() - task.started) / 60
    if status in (0, EXIT_TOO_MANY_REJECTED):
        words = "done" if not status else "done, with more rejected images than allowed (see the log)"
        logger.info("tars %s: %s in %.1f min; %d tasks left", task.shards, words, minutes, num_left)
        return
    lines = task.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    logger.error("tars %s: exit status %d, %s", task.shards, status, lines[-1] if lines else "no output")


def _end(running: Sequence[_Running]) -> None:
    """End processes in order and wait for them."""
    for task in running:
        task.process.terminate()
    for task in running:
        task.process.wait()
