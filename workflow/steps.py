"""Steps of a run that are skipped when they are done already and nothing that decides their outcome has changed."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from cache_schema import own_folder, remove, write_text

logger = logging.getLogger(__name__)


def hash_files(*paths: Path) -> str:
    """SHA-256 over files, and over all files but caches below folders: their names and contents.

    Raises:
        FileNotFoundError: If a path is not there. It must not look like an empty file.
    """
    digest = hashlib.sha256()
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there, so that nobody can tell whether it has changed")
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc")
        for file in files:
            digest.update(f"{file.relative_to(path.parent).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def do_at_once(works: Sequence[Callable[[], object]], num_jobs: int) -> None:
    """Do works that wait for processes of their own, some at a time. After a failure none begins, and it is raised.

    Args:
        works: What is to be done, in this order.
        num_jobs: How many at a time; one at a time they are done in this thread.
    """
    if num_jobs == 1:
        for work in works:
            work()
        return
    with ThreadPoolExecutor(num_jobs) as pool:
        begun = [pool.submit(work) for work in works]
        try:
            for each in begun:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # those that have begun end first
            raise


Poll = Callable[[], float | None]
"""Tells how much of a step is done, 0 to 1; None: not known."""


class Show(Protocol):
    """What a person sees of steps."""

    def skip(self, name: str) -> None:
        """Show a step that was done before."""

    def step(self, name: str, poll: Poll | None = None) -> AbstractContextManager[None]:
        """Show a step while its work is done in the context."""


class LogLines:
    """Steps as lines of the log."""

    def skip(self, name: str) -> None:
        """A line."""
        logger.info("%s: done already", name)

    @contextmanager
    def step(self, name: str, poll: Poll | None = None) -> Iterator[None]:
        """A line when the step begins, and one with its seconds when it is done."""
        logger.info("%s …", name)
        start = time.monotonic()
        yield
        logger.info("%s: %.0f s", name, time.monotonic() - start)


class Steps:
    """Remembers below `<out>/.steps` what each step was made from.

    Args:
        out: The run's output folder.
        show: What a person sees of the steps.
    """

    def __init__(self, out: Path, show: Show | None = None) -> None:
        """Start with no step done in this run."""
        self.show = show or LogLines()
        self.folder = own_folder(out / ".steps")

    def run(
        self,
        name: str,
        outputs: Sequence[Path],
        settings: Any,
        work: Callable[[], None],
        *,
        after: str = "",
        resumable: bool = False,
        poll: Poll | None = None,
    ) -> str:
        """Do a step unless it is done.

        Args:
            name: Name of the step.
            outputs: Files or folders that it makes. What is left there of an older run, or of this step cut short, is
                removed before the work.
            settings: All that decides the outcome, as JSON can hold it.
            work: Makes the outputs.
            after: Signature of the step whose outcome this one uses.
            resumable: The work goes on from what it left when it was cut short.
            poll: Tells how far the work is.

        Returns:
            The step's signature: a hash of its settings and of all that came before it.

        Raises:
            FileExistsError: If an output is there that no step of this name has made.
        """
        text = json.dumps([name, settings, after], sort_keys=True, default=str)
        signature = hashlib.sha256(text.encode()).hexdigest()
        stamp = self.folder / f"{name}.json"
        before = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else {}
        same = before.get("signature") == signature
        if same and before["done"] and all(path.exists() for path in outputs):
            self.show.skip(name)
            return signature
        if not before and any(path.exists() for path in outputs):
            there = next(path for path in outputs if path.exists())
            raise FileExistsError(f"{there} is there, but was not made by this command. Choose another --out.")
        if not (same and resumable):
            for path in outputs:
                remove(path)
        with self.show.step(name, poll):
            self._write(stamp, signature, done=False)
            work()
            self._write(stamp, signature, done=True)
        return signature

    def _write(self, stamp: Path, signature: str, *, done: bool) -> None:
        write_text(stamp, json.dumps({"signature": signature, "done": done}))
