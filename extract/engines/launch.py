"""An extraction as many tasks: which tars are missing, how many a task gets, what they cost; an engine runs them."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cache_schema import format_shards, own_folder, shard_reports
from extract.engines.base import Engine
from extract.engines.config import MAX_TASKS, MINUTES_A_TASK, LaunchConfig
from extract.engines.registry import make_engine
from extract.models.costs import Rate, expected_rate
from extract.models.memory import count_parameters, estimate, text_memory
from extract.models.weights import MissingFile
from extract.run.job import Job
from extract.run.progress import DEAD_SEC, load_progress, remove_old

logger = logging.getLogger(__name__)

SIZES_TOLD = (256, 512, 1024)
"""Sides in px at which a dry run tells what an image costs."""


@dataclass(frozen=True)
class Launch:
    """A launch that passed all checks."""

    config: LaunchConfig
    job: Job
    """The whole run, prepared as if it were to be done here: `job.todo` is what is to be launched."""
    engine: Engine
    """What runs the tasks."""
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
        engine = make_engine(config)
        # Prepared on the CPU: the machine that submits may have no GPU.
        job = _prepare(replace(config, device="cpu"))
        macs = job.count_macs()
        cache = next(iter(job.caches.values()), None)
        reports = shard_reports(cache, job.dataset) if cache and config.images_per_second is None else ()
        rate = expected_rate(config.images_per_second, reports, job.macs_by_format(), engine.device)
        todo = list(job.todo)
        num_tars = config.tars_per_task or _tars_per_task(job, rate, engine)
        tasks = [format_shards(todo[start : start + num_tars]) for start in range(0, len(todo), num_tars)]
        return cls(config, job, engine, rate, macs, tasks)

    @property
    def num_images(self) -> int:
        """Images of the tars that are to be done."""
        return sum(self.job.dataset.tars[n].num_rows for n in self.job.todo)

    def run(self) -> bool:
        """Run the tasks, or submit them.

        Returns:
            Whether a task had more rejected images than allowed, as far as the engine waits for its tasks.

        Raises:
            OSError: If tasks cannot be started, or failed.
        """
        self._log_plan()
        config = self.config
        if not self.tasks:
            return False
        flags = as_flags(config.run_settings(self.engine.device))
        if config.dry_run:
            self._log_model()
            logger.info("dry run: nothing is started\n%s", self.engine.describe(flags, self.tasks))
            return False
        remove_old(config.cache, DEAD_SEC)
        if running := [p.task for p in load_progress(config.cache) if not p.error]:
            logger.warning("%d tasks already work on this cache; tars that they finish are skipped", len(running))
        if config.logs is None:
            own_folder(config.logs_folder)
        else:  # its name is a person's choice, and may be a link
            config.logs_folder.mkdir(parents=True, exist_ok=True)
        return self.engine.run(flags, self.tasks)

    def _log_plan(self) -> None:
        config, rate = self.config, self.rate.images_per_second
        num_tars, num_skipped = len(self.job.todo), self.job.num_skipped
        hours = self.num_images / rate / 3600
        logger.info(
            "%s images in %s tars (%s stores are there), %s, %.3g GMAC each: %s %s-hours at %s images/s (%s)",
            f"{self.num_images:,}",
            f"{num_tars:,}",
            f"{num_skipped:,}",
            self.job.method.work,
            self.macs / 1e9,
            f"{hours:,.1f}" if hours >= 0.1 else f"{hours:.2g}",
            "GPU" if self.engine.device == "cuda" else "processor",
            f"{rate:,.1f}",
            self.rate.source,
        )
        each = f", each with {self.engine.resources}" if self.engine.resources else ""
        at_once = self.engine.max_at_once
        logger.info("%s tasks, at most %d at a time%s → %s", f"{len(self.tasks):,}", at_once, each, config.cache)

    def _log_model(self) -> None:
        """The model's weights, and what an image and a batch cost at several sizes."""
        config, folder = self.job.config, self.job.model.folder
        parts = {name: count for name, count in count_parameters(folder).items() if name != "vae_encoder"}
        logger.info("weights: %s", ", ".join(f"{name} {count / 1e6:,.3g} M" for name, count in parts.items()))
        if folder.has_text:
            logger.info(
                "text encoders: %.2g GB of the device's memory in %s, and of the host's while they are loaded, before "
                "the other networks are there",
                text_memory(folder, config.text_dtype) / 1e9,
                config.text_dtype,
            )
        sizes = sorted({config.image_size, *SIZES_TOLD})
        calls = self.job.method.count_calls()
        for each in estimate(folder, sizes, calls, config.batch_size, config.compute_dtype, config.text_dtype):
            logger.info(
                "%d px: %.3g GMAC an image, about %.2g GB of memory for %d images at a time in %s",
                each.image_size,
                each.gmac,
                each.memory_bytes / 1e9,
                config.batch_size,
                config.compute_dtype,
            )


def as_flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as a command line has them, `--timesteps=[200, 400]`."""
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings.items()]


def _prepare(config: LaunchConfig) -> Job:
    """The whole run; for a dry run where the model's weights are missing, planned from its configurations alone."""
    try:
        return Job.prepare(config)
    except MissingFile as error:
        if not config.dry_run:
            raise
        try:
            job = Job.plan(config)
        except MissingFile:  # not even these
            raise error from None
        logger.warning("planned without the model's weights, which a launch needs: %s", error)
        return job


def _tars_per_task(job: Job, rate: Rate, engine: Engine) -> int:
    """Tars that take about half an hour; fewer, if some devices would have none; more, if tasks would be too many."""
    num_tars = len(job.todo)
    if not num_tars:
        return 1
    images_a_tar = sum(job.dataset.tars[n].num_rows for n in job.todo) / num_tars
    num_devices = engine.devices_a_task
    in_time = int(MINUTES_A_TASK * 60 * rate.images_per_second * num_devices / images_a_tar)
    for_all = -(-num_tars // engine.min_tasks)
    return max(num_devices, min(in_time, for_all), -(-num_tars // MAX_TASKS))
