"""Many fits as numbered runs: which of them a task is to do, which are done, and what the others cost."""

import logging
import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cache_schema import read_json, shown, write_json

logger = logging.getLogger(__name__)

TIME_NAME = "fit_time.json"
"""File in a run's folder: the seconds that its fit took, and the training images that it saw in them."""


@dataclass(frozen=True)
class Run:
    """A fit and the scoring of what it trained.

    Attributes:
        title: For people: "full-t200-e4, seed 0".
        folder: Where it lies, or will lie.
        num_images: Training images of an epoch.
        num_epochs: Epochs of the fit.
        is_done: Whether nothing is left to do.
    """

    title: str
    folder: Path
    num_images: int
    num_epochs: int
    is_done: bool = False


@dataclass(frozen=True)
class Rate:
    """How fast fits are.

    Attributes:
        images_per_second: Training images that a fit takes in; None: nobody knows.
        source: Where the figure is from.
    """

    images_per_second: float | None
    source: str


def choose_numbers(only: str | int | None, count: int) -> list[int]:
    """Numbers of the runs that a task is to do, ascending.

    Args:
        only: "3", "0-3" or "0,2,5-7"; None: all.
        count: Number of runs.

    Raises:
        ValueError: If the text has another form, or names a run that is not there.
    """
    if only is None:
        return list(range(count))
    chosen = set[int]()
    for part in str(only).split(","):
        found = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
        if found is None or int(found[1]) > int(found[2] or found[1]):
            raise ValueError(f"only is {only!r}: expected numbers of runs, like 3 or 0-3 or 0,2,5-7")
        last = int(found[2] or found[1])
        if last >= count:
            raise ValueError(f"only names run {last}: there are {count} runs, 0 … {count - 1}; --dry_run lists them")
        chosen.update(range(int(found[1]), last + 1))
    return sorted(chosen)


@contextmanager
def timing(run: Run) -> Iterator[None]:
    """Note beside a fit how long it took, for the estimates of those to come. Not for one that goes on with another."""
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    write_json(run.folder / TIME_NAME, {"seconds": round(seconds, 3), "images": run.num_images * run.num_epochs})


def find_rate(files: Iterable[Path], given: float | None) -> Rate:
    """As given, else the mean of the fits that are timed.

    Args:
        files: What `timing` wrote, there or not.
        given: Training images a second, by the user.
    """
    if given is not None:
        return Rate(given, "as given")
    times = [time for file in files if (time := _read_time(file))]
    if not times:
        return Rate(None, "")
    seconds, images = (sum(column) for column in zip(*times, strict=True))
    return Rate(images / seconds, f"the mean of {_count(len(times), 'finished fit')}")


def _read_time(path: Path) -> tuple[float, float] | None:
    try:
        content = read_json(path)
        seconds, images = float(content["seconds"]), float(content["images"])
    except (OSError, ValueError, KeyError, TypeError):  # no part of the results: what cannot be read is no help
        return None
    return (seconds, images) if 0 < seconds < math.inf and 0 < images < math.inf else None


def describe_cost(runs: Sequence[Run], rate: Rate, num_jobs: int = 1) -> str:
    """What is left to do, and how long it takes, in a sentence.

    Args:
        runs: All that are asked for.
        rate: From `find_rate`.
        num_jobs: Fits at once.
    """
    left = [run for run in runs if not run.is_done]
    images, epochs = sum(run.num_images * run.num_epochs for run in left), {run.num_epochs for run in runs}
    text = f"{_count(len(runs), 'fit')} of {_count(' or '.join(map(str, sorted(epochs))), 'epoch')}"
    text += f", {len(runs) - len(left)} done"
    if not left:
        return text
    text += f"; {images:,} training images to take in"
    if rate.images_per_second is None:
        return f"{text}. No fit is timed here yet, so that hours are unknown: --images_per_second gives an estimate"
    hours = images / rate.images_per_second / 3600 / num_jobs
    at_once = f", {num_jobs} at once" if num_jobs > 1 else ""
    return f"{text}: {format_time(hours)}{at_once}, at {rate.images_per_second:,.0f} images/s a fit ({rate.source})"


def format_time(hours: float) -> str:
    """A time in the unit that fits, with two digits: "12 hours", "3.4 minutes", "0.7 seconds"."""
    for unit, per_hour in (("hour", 1), ("minute", 60), ("second", 3600)):
        value = hours * per_hour
        if value >= 1 or unit == "second":
            break
    return _count(f"{value:,.0f}" if value >= 10 else f"{value:.2g}", unit)


def _count(number: int | str, name: str) -> str:
    return f"{number} {name}{'' if str(number) == '1' else 's'}"


def list_runs(runs: Sequence[Run]) -> str:
    """A line a run: its number, whether it is done, and its title."""
    width = len(str(max(len(runs) - 1, 0)))
    return "".join(
        f"{n:>{width}}  {'done' if run.is_done else 'to do'}  {shown(run.title)}\n" for n, run in enumerate(runs)
    )
