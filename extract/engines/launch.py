"""An extraction as many tasks: which tars are still to do, how many a task, what it costs; then an engine runs them."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml

from cache_schema import format_shards, shard_reports
from extract.config import ExtractConfig
from extract.engines.config import MAX_TASKS, MINUTES_A_TASK, LaunchConfig
from extract.engines.local import run_local
from extract.engines.slurm import batch_file, submit
from extract.models.costs import Rate, expected_rate
from extract.run.job import Job
from extract.run.progress import load_progress, remove_old

logger = logging.getLogger(__name__)

DEAD_SEC = 600
"""A task that has not written for so long is taken to be dead when the next launch clears up."""


@dataclass(frozen=True)
class Launch:
    """A launch that passed all checks."""

    config: LaunchConfig
    job: Job
    """The whole run, prepared as if it were to be done here: `job.todo` is what is to be launched."""
    devices: Sequence[str]
    """CUDA_VISIBLE_DEVICES of each process of engine local; "" for one on the CPU."""
    rate: Rate
    macs: int
    """Operations an image."""
    tasks: Sequence[str]
    """Tars of each task, "0-25"."""

    @classmethod
    def prepare(cls, config: LaunchConfig) -> "Launch":
        """Find what is to be done, and divide it.

        Raises:
            ValueError: If a setting does not fit.
            CacheError: As `Job.prepare`.
        """
        config = _with_device(config)
        # Prepared on the CPU: the machine that submits may have no GPU.
        job = Job.prepare(replace(config, device="cpu"))
        macs = job.count_macs()
        cache = next(iter(job.caches.values()))
        device = "cuda" if config.runs_on_gpu else "cpu"
        reports = shard_reports(cache, job.dataset) if config.images_per_second is None else ()
        rate = expected_rate(config.images_per_second, reports, macs, device)
        devices = list_devices(config) if config.engine == "local" else []
        todo = list(job.todo)
        num_tars = config.tars_per_task or _tars_per_task(job, rate, max(1, len(devices)))
        tasks = [format_shards(todo[start : start + num_tars]) for start in range(0, len(todo), num_tars)]
        return cls(config, job, devices, rate, macs, tasks)

    @property
    def num_images(self) -> int:
        """Images of the tars that are to be done."""
        return sum(self.job.dataset.tars[n].num_rows for n in self.job.todo)

    def run(self) -> bool:
        """Run the tasks, or submit them.

        Returns:
            Whether a task of engine local had more rejected images than allowed.

        Raises:
            OSError: If SLURM refuses the jobs.
            TaskFailed: If a task of engine local failed.
        """
        self._log_plan()
        config = self.config
        if not self.tasks:
            return False
        settings = settings_path(config)
        if config.dry_run:
            text = batch_file(config, settings, len(self.tasks)) if config.engine == "slurm" else ""
            logger.info("dry run: nothing is started\n%s", text)
            return False
        remove_old(config.cache, DEAD_SEC)
        if running := [p.task for p in load_progress(config.cache) if not p.error]:
            logger.warning("%d tasks are at this cache already; what they finish is skipped", len(running))
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(_settings_text(config), encoding="utf-8")
        if config.engine == "slurm":
            submit(config, settings, self.tasks)
            return False
        return run_local(config, settings, self.tasks, self.devices)

    def _log_plan(self) -> None:
        config, rate = self.config, self.rate.images_per_second
        num_tars, num_skipped = len(self.job.todo), self.job.num_skipped
        hours = self.num_images / rate / 3600
        logger.info(
            "%s images in %s tars (%s stores are there), %s, %.3g GMAC each: %s %s-hours at %s images/s (%s)",
            f"{self.num_images:,}",
            f"{num_tars:,}",
            f"{num_skipped:,}",
            config.work,
            self.macs / 1e9,
            f"{hours:,.1f}" if hours >= 0.1 else f"{hours:.2g}",
            "GPU" if config.runs_on_gpu else "processor",
            f"{rate:,.1f}",
            self.rate.source,
        )
        at_once = len(self.devices) if config.engine == "local" else config.concurrency
        logger.info("%s tasks, at most %d at a time → %s", f"{len(self.tasks):,}", at_once, config.cache)


def settings_path(config: LaunchConfig) -> Path:
    """The file with the settings of every task, named after its content: a task can be run again by hand with it."""
    digest = hashlib.sha256(_settings_text(config).encode()).hexdigest()
    return config.logs_folder / f"settings-{digest[:12]}.yaml"


def _settings_text(config: LaunchConfig) -> str:
    return yaml.safe_dump(config.run_settings(), allow_unicode=True)


def list_devices(config: ExtractConfig) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each process on this machine; as many empty ones as processes on the CPU."""
    processes = config.processes if isinstance(config, LaunchConfig) else None
    if config.device != "cuda":
        return [""] * (processes or 1)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]
    return [names[n % len(names)] for n in range(processes or len(names))]


def _with_device(config: LaunchConfig) -> LaunchConfig:
    """The configuration with `device` settled, for engine local."""
    if config.engine == "slurm":
        return config
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU: pass --device cpu")
    is_gpu = config.device != "cpu" and torch.cuda.is_available()
    return replace(config, device="cuda" if is_gpu else "cpu")


def _tars_per_task(job: Job, rate: Rate, num_processes: int) -> int:
    """Tars that take about half an hour; fewer, if some processes would have none; more, if tasks would be too many."""
    num_tars = len(job.todo)
    if not num_tars:
        return 1
    images_a_tar = sum(job.dataset.tars[n].num_rows for n in job.todo) / num_tars
    in_time = int(MINUTES_A_TASK * 60 * rate.images_per_second / images_a_tar)
    for_all = -(-num_tars // num_processes)
    return max(1, min(in_time, for_all), -(-num_tars // MAX_TASKS))
