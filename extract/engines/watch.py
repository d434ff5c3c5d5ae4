"""The state of the tasks that fill a cache, by their progress files and the finished stores; loads no torch."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cache_schema import (
    Cache,
    CacheError,
    Dataset,
    Place,
    check_dataset,
    list_names,
    open_cache,
    place,
    reason_kind,
    shown,
)
from extract.run.progress import Progress, read_progress

SILENT_SEC = 60.0
"""A running task writes every few seconds; a task that is silent for this long hangs, or was killed."""
MAX_LINES = 20
MAX_LINE = 4000
"""Characters of a line."""
MAX_NAME = 100
"""Characters of a task's or a tar's name."""
MAX_REASONS = 10
_CLEAR = "\x1b[H\x1b[2J"


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """The tasks that fill a cache, shown again every few seconds: rates, time left, rejected images, silent tasks.

    Of a cache in object storage the tasks of this machine, and the stores that all have finished.

    Raises:
        ValueError: If a setting is outside its range.
    """

    cache: str
    """Cache folder, or the one above a sweep's."""
    data: str | None = None
    """Folder with dataset.json; needed to show how much is left."""
    once: bool = False
    """Show it once."""
    every_sec: float = 5.0
    """Seconds from one time to the next."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.every_sec > 0:
            raise ValueError(f"every_sec is {self.every_sec}: expected more than 0")


class Finished:
    """Counts of a cache's finished stores; each store is read once, when it is first seen.

    Args:
        cache: The cache; of a sweep, one of them.
    """

    def __init__(self, cache: Cache, dataset: Dataset | None = None) -> None:
        self._cache, self._dataset = cache, dataset
        self._seen: set[str] = set()
        self.num_images = 0
        self.rejected: Counter[str] = Counter()
        self.problems: list[str] = []
        """What is wrong with stores, a line each; `verify` says more."""

    @property
    def num_tars(self) -> int:
        """Stores that are there."""
        return len(self._seen)

    def update(self) -> None:
        """Read the stores that have come since."""
        names = self._cache.stores_of(self._dataset.tars) if self._dataset else self._cache.shards()
        for name in names:
            if name not in self._seen:
                self._seen.add(name)
                try:
                    attributes = self._cache.attributes(name)
                    num_images = sum(attributes["counts"].values())
                    rejected = Counter(map(reason_kind, attributes.get("reasons", {}).values()))
                except (CacheError, OSError, KeyError, TypeError, AttributeError) as error:
                    self.problems.append(f"{name} cannot be read: {error}")
                    continue
                self.num_images += num_images
                self.rejected += rejected


class Watch:
    """A cache that is being filled.

    Args:
        config: What to show.

    Raises:
        CacheError: If cache or dataset cannot be read, or do not belong together.
    """

    def __init__(self, config: WatchConfig) -> None:
        self.config = config
        self._dataset = Dataset.open(config.data) if config.data else None
        cache = _open_any(place(config.cache))
        if self._dataset:
            check_dataset(cache, self._dataset.dataset_id)
        self._finished = Finished(cache, self._dataset)

    @property
    def is_done(self) -> bool:
        """Whether every tar has a store, as far as that is known."""
        return self._dataset is not None and self._finished.num_tars >= len(self._dataset.tars)

    def run(self) -> None:
        """Show it until every tar is done, or until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            while True:
                text = self.snapshot(time.time())
                sys.stdout.write((_CLEAR if sys.stdout.isatty() and not self.config.once else "") + text)
                sys.stdout.flush()
                if self.config.once or self.is_done:
                    return
                time.sleep(self.config.every_sec)

    def snapshot(self, now: float) -> str:
        """The text for one moment.

        Args:
            now: Seconds since 1970.
        """
        self._finished.update()
        tasks, problems = read_progress(self.config.cache, now)
        failed = [task for task in tasks if task.error]
        silent = [task for task in tasks if not task.error and now - task.updated > SILENT_SEC]
        running = [task for task in tasks if not task.error and now - task.updated <= SILENT_SEC]
        lines = [self._total(running), *self._rejections(), *_table(running)]
        lines += _first(
            f"silent for {format_seconds(now - task.updated)}: {_place(task)}: hangs, or was killed" for task in silent
        )
        lines += _first(f"failed: {_place(task)}: {task.error}" for task in failed)
        lines += _first([*self._finished.problems, *problems])
        return "".join(f"{shown(line, MAX_LINE)}\n" for line in lines)

    def _total(self, running: Sequence[Progress]) -> str:
        finished, rate = self._finished, sum(task.images_per_second for task in running)
        speed = f"{len(running)} tasks at {rate:,.1f} images/s"
        if self._dataset is None:
            return f"{self.config.cache}: {finished.num_tars:,} tars, {finished.num_images:,} images done; {speed}"
        total = sum(tar.num_rows for tar in self._dataset.tars)
        left = f", {format_seconds((total - finished.num_images) / rate)} left" if rate > 0 else ""
        return (
            f"{self.config.cache}: {finished.num_tars:,} of {len(self._dataset.tars):,} tars, "
            f"{finished.num_images:,} of {total:,} images done; {speed}{left}"
        )

    def _rejections(self) -> list[str]:
        rejected = self._finished.rejected
        if not rejected:
            return []
        lines = [f"{count:>9,} × {reason}" for reason, count in rejected.most_common(MAX_REASONS)]
        more = [f"          … and {len(rejected) - MAX_REASONS} more reasons"] if len(rejected) > MAX_REASONS else []
        return [f"{rejected.total():,} images rejected, numbers in the reasons as #:", *lines, *more]


def _open_any(folder: Place) -> Cache:
    """The cache in a folder, or the first one of a sweep below it that can be read."""
    try:
        return open_cache(folder)
    except CacheError as error:
        for name in _names(folder):
            with suppress(CacheError, OSError):
                return open_cache(folder / name)
        raise error


def _names(folder: Place) -> list[str]:
    try:
        return list_names(folder)
    except OSError:  # there is none
        return []


def _place(task: Progress) -> str:
    return f"{shown(task.task, MAX_NAME)}, at {shown(task.tar, MAX_NAME) or 'its start'}"


def _first(lines: Iterable[str]) -> list[str]:
    """The first lines, and how many more there are."""
    found = list(lines)
    rest = len(found) - MAX_LINES
    return [*found[:MAX_LINES], *([f"… and {rest:,} more like these"] if rest > 0 else [])]


def _table(running: Sequence[Progress]) -> list[str]:
    """A line a task, the slowest first."""
    if not running:
        return []
    tasks = sorted(running, key=lambda task: task.images_per_second)
    names = [shown(task.task, MAX_NAME) for task in tasks[:MAX_LINES]]
    width = max(len("task (slowest first)"), *map(len, names))
    lines = [f"{'task (slowest first)':{width}}  {'tars':>11}  {'images/s':>8}  {'left':>8}  {'rejected':>8}  at"]
    for name, task in zip(names, tasks, strict=False):
        left = "?" if task.seconds_left is None else format_seconds(task.seconds_left)
        tars, rejected = f"{task.tars_done} of {task.num_tars}", f"{sum(task.rejected.values()):,}"
        line = f"{name:{width}}  {tars:>11}  {task.images_per_second:>8,.1f}  {left:>8}  {rejected:>8}  {task.tar}"
        lines.append(line.rstrip())
    return lines + ([f"… and {len(tasks) - MAX_LINES} faster tasks"] if len(tasks) > MAX_LINES else [])


def format_seconds(seconds: float) -> str:
    """Seconds in the unit that fits: "40 s", "12 min", "3.5 h", "2.1 days"."""
    for limit, divisor, unit, digits in ((100, 1, "s", 0), (6000, 60, "min", 0), (48 * 3600, 3600, "h", 1)):
        if seconds < limit:
            return f"{seconds / divisor:.{digits}f} {unit}"
    return f"{seconds / 86400:,.1f} days"
