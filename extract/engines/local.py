"""Tasks on the devices of this machine: a process at a time on each, the next task to whichever is free."""

import logging
import os
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from cache_schema import open_in_place
from extract.engines.base import Engine, run_command
from extract.engines.config import LaunchConfig
from extract.rejected import EXIT_TOO_MANY_REJECTED

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


class LocalEngine(Engine):
    """Runs the tasks on the devices of this machine, and waits for them."""

    def __init__(self, config: LaunchConfig) -> None:
        super().__init__(config)
        self.devices = list_devices(config)

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """A GPU if there is one, unless the CPU is asked for."""
        return "cuda" if self.devices[0] else "cpu"

    @property
    def max_at_once(self) -> int:
        """A task on each device, or as many as `processes` says."""
        return len(self.devices)

    @property
    def min_tasks(self) -> int:
        """One for each device."""
        return len(self.devices)

    def describe(self, flags: Sequence[str], tasks: Sequence[str]) -> str:
        """Nothing besides the plan."""
        return ""

    def run(self, flags: Sequence[str], tasks: Sequence[str]) -> bool:
        """Run tasks until all are done; one that fails does not keep the others from running.

        Raises:
            TaskFailed: If tasks failed, once the others are done.
        """
        waiting, free, running = deque(tasks), list(self.devices), list[_Running]()
        failed: list[str] = []
        above = False
        try:
            while waiting or running:
                while waiting and free:
                    running.append(self._start(flags, waiting.popleft(), free.pop(0)))
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
                f"{self.config.logs_folder}. The same command again does what is missing."
            )
        return above

    def _start(self, flags: Sequence[str], shards: str, device: str) -> _Running:
        environment = {**os.environ}
        if device:
            environment["CUDA_VISIBLE_DEVICES"] = device
        else:
            # Processes that take all processors each would wait for one another.
            threads = max(1, len(os.sched_getaffinity(0)) // len(self.devices))
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        log = self.config.logs_folder / f"local-{os.getpid()}-{shards.replace(',', '_')[:60]}.log"
        with open_in_place(log, "wb") as stream:
            process = _popen([*run_command(flags), f"--shard={shards}"], environment, stream)
        logger.info("tars %s on %s: process %d, log %s", shards, device or "the CPU", process.pid, log)
        return _Running(shards, device, process, log, time.monotonic())


def list_devices(config: LaunchConfig) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each process on this machine; as many empty ones as processes on the CPU.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    import torch  # takes seconds, which --help does not need

    from extract.run.device import find_device

    if find_device(config.device).type == "cpu":
        return [""] * (config.processes or 1)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]
    return [names[n % len(names)] for n in range(config.processes or len(names))]


def _popen(command: Sequence[str], environment: dict[str, str], stream: IO[bytes]) -> "subprocess.Popen[bytes]":
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
