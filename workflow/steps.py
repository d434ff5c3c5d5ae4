"""Steps of a run that are skipped when they are done already and nothing that decides their outcome has changed."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from cache_schema import claim, own_folder, read_json, remove, write_text

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
        signature, stamp = self._sign(name, settings, after), self.folder / f"{name}.json"
        if self._is_done(stamp, signature, outputs):
            self.show.skip(name)
            return signature
        # Another process may be at the same step: then this one waits, and finds it done.
        with claim(self.folder / f"{name}.lock", wait=True):
            if self._is_done(stamp, signature, outputs):
                self.show.skip(name)
                return signature
            before = _read_stamp(stamp)
            if not before and any(path.exists() for path in outputs):
                there = next(path for path in outputs if path.exists())
                raise FileExistsError(f"{there} is there, but was not made by this command. Choose another --out.")
            if not (before.get("signature") == signature and resumable):
                for path in outputs:
                    remove(path)
            with self.show.step(name, poll):
                self._write(stamp, signature, done=False)
                work()
                self._write(stamp, signature, done=True)
        return signature

    def is_done(self, name: str, outputs: Sequence[Path], settings: Any, *, after: str = "") -> bool:
        """Whether `run` would skip a step; arguments as of it."""
        return self._is_done(self.folder / f"{name}.json", self._sign(name, settings, after), outputs)

    def is_marked_done(self, name: str) -> bool:
        """Whether a step was done once, whatever it was made from."""
        return bool(_read_stamp(self.folder / f"{name}.json").get("done"))

    def _sign(self, name: str, settings: Any, after: str) -> str:
        text = json.dumps([name, settings, after], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _is_done(self, stamp: Path, signature: str, outputs: Sequence[Path]) -> bool:
        before = _read_stamp(stamp)
        is_same = before.get("signature") == signature and before["done"]
        return bool(is_same) and all(path.exists() for path in outputs)

    def _write(self, stamp: Path, signature: str, *, done: bool) -> None:
        write_text(stamp, json.dumps({"signature": signature, "done": done}))


def _read_stamp(stamp: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(stamp) if stamp.exists() else {}
    return content
