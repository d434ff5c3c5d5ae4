"""Progress of the tasks that fill a cache: each keeps a small JSON file in the cache folder, which `watch` reads.

A task that ends in order removes its file. A task that fails leaves the error in its file. The file of a killed task
stays as it was, silent from then on. No work depends on these files: the stores say what is done. Never loads torch.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cache_schema import NotPlain, load_json, open_folder, own_folder, reason_kind, state_folder, write_text

logger = logging.getLogger(__name__)

FOLDER = ".progress"
WRITE_EVERY_SEC = 5.0
MAX_BYTES = 2**20
"""Of a file; a task's has a thousand."""
MAX_NUMBER = 2**53
_NEEDED = {"task", "num_tars", "num_images"}
_TEXTS = {"task": str, "tar": str, "error": str}
DEAD_SEC = 600
"""A task that has been silent for this long counts as dead: the next launch removes its progress file."""
KEEP_SEC = 24 * 3600.0
"""How long a file of a task that no longer writes is kept."""


@dataclass(frozen=True)
class Progress:
    """What a task says of itself."""

    task: str
    """Host, SLURM job if there is one, and process."""
    num_tars: int
    num_images: int
    tars_done: int = 0
    images_done: int = 0
    """Of all its tars, those in flight included."""
    tar: str = ""
    """The tar it is at."""
    started: float = 0.0
    """Seconds since 1970, as `updated`; models are loaded before."""
    updated: float = 0.0
    """By the clock of the machine that reads it; in the file, by that of the task's."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Kind of reason → images of finished tars."""
    error: str = ""
    """Why it ended; empty for one that runs, or was killed."""
    skipped: int = 0
    """Images of tars that another task has done meanwhile; part of `images_done`."""

    @property
    def images_per_second(self) -> float:
        """Rate since its start."""
        return (self.images_done - self.skipped) / max(self.updated - self.started, 1e-9)

    @property
    def images_left(self) -> int:
        """Images that are still to do."""
        return self.num_images - self.images_done

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None if there is none yet."""
        return self.images_left / self.images_per_second if self.images_per_second > 0 else None


class ProgressFile:
    """Keeps a task's file, as a context around its work. A failed write is ignored: the work continues.

    Args:
        cache: Cache folder, or the one above a sweep's.
        num_tars: Tars that the task has to do.
        num_images: Images in them.
    """

    def __init__(self, cache: str | Path, num_tars: int, num_images: int) -> None:
        self._folder = state_folder(cache) / FOLDER
        self._state = Progress(task_name(), num_tars, num_images)
        self._rejected: Counter[str] = Counter()
        self._lock = threading.Lock()  # tars are finished in the thread that writes them

    def __enter__(self) -> Self:
        now = time.time()
        remove_old(self._folder.parent, KEEP_SEC)
        try:
            own_folder(self._folder)
        except NotPlain as error:
            logger.warning("%s: %s. No progress is told; remove it.", self._folder, error)
        except OSError:
            pass  # a full disk, perhaps: as everywhere here, the work continues
        self._change(started=now, updated=now)
        try:
            self._write()
        except BaseException as error:  # SIGTERM: a file that stays would be taken for a task at work
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._change(error=f"{type(error).__name__}: {error}")
            self._write()
            return
        with suppress(OSError):
            with open_folder(self._folder) as folder:
                os.unlink(self._path.name, dir_fd=folder)
            self._folder.rmdir()  # fails while there are others

    def start_tar(self, name: str) -> None:
        """Record which tar is being read."""
        self._change(tar=name)

    def add_images(self, count: int) -> None:
        """Count images whose maps are there."""
        self._change(images_done=self._state.images_done + count)

    def skip_tar(self, num_images: int) -> None:
        """Count a tar that another task has done."""
        state = self._state
        self._change(
            images_done=state.images_done + num_images,
            skipped=state.skipped + num_images,
            tars_done=state.tars_done + 1,
        )

    def finish_tar(self, reasons: Iterable[str]) -> None:
        """Count a tar whose stores are published.

        Args:
            reasons: Of each rejected image.
        """
        with self._lock:
            self._rejected.update(map(reason_kind, reasons))
        self._change(tars_done=self._state.tars_done + 1, rejected=dict(self._rejected))

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._state.task}.json"

    def _change(self, **values: object) -> None:
        with self._lock:
            due = time.time() - self._state.updated >= WRITE_EVERY_SEC
            self._state = replace(self._state, **values)  # type: ignore[arg-type]
        if due:
            self._write()

    def _write(self) -> None:
        with self._lock:
            self._state = replace(self._state, updated=time.time())
            with suppress(OSError):
                own_folder(self._folder)
                write_text(self._path, json.dumps(asdict(self._state)) + "\n", durable=False)


def task_name() -> str:
    """Name of this task: host, SLURM job and element of its array if there is one, and process."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    element = os.environ.get("SLURM_ARRAY_TASK_ID")
    parts = [socket.gethostname(), f"{job}_{element}" if job and element else job, str(os.getpid())]
    return "-".join(part for part in parts if part)


def load_progress(cache: str | Path) -> list[Progress]:
    """What the tasks of a cache say, by name; a file that cannot be read is left out (`read_progress` names it)."""
    return read_progress(cache)[0]


def read_progress(cache: str | Path, now: float | None = None) -> tuple[list[Progress], list[str]]:
    """What the tasks of a cache say, by name, and a line for each file that cannot be read.

    The files may come from strangers: they are plain files of a bounded size, and their values what `Progress` says.
    Other hosts' clocks are not trusted: how long ago a file was written is told by the file system alone.

    Args:
        cache: As of `ProgressFile`.
        now: Seconds since 1970; None: by this machine's clock.
    """
    path = state_folder(cache) / FOLDER
    now = time.time() if now is None else now
    found: list[Progress] = []
    problems: list[str] = []
    try:
        with open_folder(path) as folder:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith("."))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path} cannot be read ({error})"]
    clock = _file_system_time(path) if names else now
    for name in names:
        try:
            task = _parse(load_json(path / name, MAX_BYTES))
            written = now - max(0.0, clock - (path / name).stat().st_mtime)
            found.append(replace(task, started=task.started + written - task.updated, updated=written))
        except FileNotFoundError:
            continue  # its task has ended meanwhile
        except (OSError, ValueError) as error:
            problems.append(f"{path / name} cannot be read ({error})")
    return found, problems


def is_running(task: Progress) -> bool:
    """Whether a task has written within the last minutes and has not failed."""
    return not task.error and time.time() - task.updated < DEAD_SEC


def _parse(content: Any) -> Progress:
    """A task's state from JSON; names of a later version are left out.

    Raises:
        ValueError: If a value is missing or not of its kind.
    """
    if not isinstance(content, dict):
        raise ValueError("expected an object")
    given = {f.name: content[f.name] for f in fields(Progress) if f.name in content}
    if missing := _NEEDED - given.keys():
        raise ValueError(f"it has no {' and no '.join(sorted(missing))}")
    for name, value in given.items():
        counts = value.values() if name == "rejected" and isinstance(value, dict) else () if name in _TEXTS else [value]
        is_right = isinstance(value, {**_TEXTS, "rejected": dict}.get(name, int | float))
        if not is_right or not all(type(n) in (int, float) and 0 <= n < MAX_NUMBER for n in counts):
            raise ValueError(f"{name} is not what a task writes")
    return Progress(**given)


def _file_system_time(folder: Path) -> float:
    """Seconds since 1970 by the clock that times of files in a folder are by, on a network disk its server's.

    Where nothing can be written, this machine's.
    """
    name = f".clock.{secrets.token_hex(16)}.tmp"
    try:
        with open_folder(folder) as descriptor:
            file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=descriptor)
            try:
                os.write(file, b"\n")
                os.fsync(file)
                return os.fstat(file).st_mtime
            finally:
                os.close(file)
                os.unlink(name, dir_fd=descriptor)
    except OSError:
        return time.time()


def remove_old(cache: str | Path, age_sec: float) -> None:
    """Remove files of tasks that have not written for so long, by the file system's clock."""
    path = state_folder(cache) / FOLDER
    with suppress(OSError), open_folder(path) as folder, os.scandir(folder) as entries:
        now = _file_system_time(path)
        for entry in entries:
            if ".json" in entry.name and now - entry.stat(follow_symlinks=False).st_mtime > age_sec:
                os.unlink(entry.name, dir_fd=folder)
