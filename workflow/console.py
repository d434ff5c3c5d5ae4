"""Steps as a person sees them: a line each with a bar and its seconds; all that is said meanwhile goes to log.txt."""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from cache_schema import open_in_place, shown
from cache_schema.program import ShownFormatter

logger = logging.getLogger(__name__)

MAX_LINE = 4000
"""Characters of a line of the log that is shown."""
NUM_LAST_LINES = 12
"""Lines of the log that are shown of a step that fails."""


@dataclass
class _Line:
    """A step at work."""

    title: str
    task: TaskID | None
    poll: Callable[[], float | None] | None
    fraction: float | None = None
    """How much of it is done; None: unknown."""
    said: deque[str] = field(default_factory=lambda: deque(maxlen=NUM_LAST_LINES))

    def update(self) -> float | None:
        if self.poll is not None:
            self.fraction = self.poll() or self.fraction
        return self.fraction


class _Seconds(ProgressColumn):
    """How long a step has taken so far, or how it ended."""

    def render(self, task: Task) -> Text:
        if task.fields["state"] == "skipped":
            return Text("done already", style="dim")
        state = {"failed": ", failed", "stopped": ", stopped"}.get(task.fields["state"], "")
        return Text(f"{task.elapsed or 0:4.0f} s{state}", style="red" if state else "")


class _Bars(Progress):
    """Bars that ask their steps how far they are whenever they are drawn."""

    def __init__(self, terminal: Terminal, lines: dict[TaskID, _Line]) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), _Seconds())
        self.lines = lines
        super().__init__(*columns, console=terminal, refresh_per_second=4, redirect_stdout=False, redirect_stderr=False)

    def refresh(self) -> None:
        for task, line in [*self.lines.items()]:
            fraction = line.update()
            if fraction is not None:
                self._tasks[task].total, self._tasks[task].completed = 1.0, min(fraction, 1.0)
        super().refresh()


class Console:
    """Shows steps and keeps their log, as a context around a run.

    On a terminal each step has a line with a bar. Elsewhere it has two: one when it begins and one when it ends.

    Args:
        log: File that logging, warnings and what commands write is appended to.
        titles: Step → how it is called.
        stream: Where lines go; None: the standard error.
    """

    def __init__(self, log: Path, titles: Mapping[str, str], stream: TextIO | None = None) -> None:
        """Remember where to write."""
        self.log, self._titles, self._stream = log, titles, stream or sys.stderr
        self._lines: dict[TaskID, _Line] = {}
        terminal = Terminal(file=self._stream, highlight=False)
        self._bars = _Bars(terminal, self._lines) if self._stream.isatty() and terminal.is_terminal else None
        self._here, self._writing = threading.local(), threading.Lock()
        self._failed: _Line | None = None
        self._width = max(map(len, titles.values()), default=0)

    def __enter__(self) -> Self:
        """Send all logging of this process to the file, and show bars."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._said, self._logged = (
            open_in_place(self.log, "a", encoding="utf-8", errors="backslashreplace") for _ in range(2)
        )
        self._file = logging.StreamHandler(self._logged)
        self._file.setFormatter(ShownFormatter("%(asctime)s %(message)s"))
        root = logging.getLogger()
        self._before = root.handlers[:], root.level
        root.handlers[:] = [self._file]
        root.setLevel(logging.INFO)
        logging.captureWarnings(True)
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let logging be what it was, and tell what a step that has failed said last."""
        if self._bars:
            self._bars.stop()
        logging.captureWarnings(False)
        root = logging.getLogger()
        root.handlers[:], level = self._before
        root.setLevel(level)
        self._file.close()
        self._logged.close()
        self._said.close()
        if self._failed and isinstance(error, Exception):
            lines = "".join(f"  {shown(line, MAX_LINE)}\n" for line in self._failed.said)
            self._write(f"{self._failed.title} failed. The last lines of {self.log}:\n{lines}")

    def skip(self, name: str) -> None:
        """Show a step that was done before."""
        logger.info("%s: done already", name)
        title = self._title(name)
        if self._bars:
            self._bars.add_task(title, total=1, completed=1, start=False, state="skipped")
        else:
            self._write(f"{title.rstrip()}: done already\n")

    @contextmanager
    def step(self, name: str, poll: Callable[[], float | None] | None = None) -> Iterator[None]:
        """Show a step while its work is done in this block.

        Args:
            name: The step.
            poll: Tells how much is done, 0 to 1, or None where that is not known. Called a few times a second.
        """
        logger.info("%s …", name)
        title, start = self._title(name), time.monotonic()
        task = self._bars.add_task(title, total=None, state="") if self._bars else None
        line = self._here.line = _Line(title.rstrip(), task, poll)
        if task is not None:
            self._lines[task] = line
        else:
            self._write(f"{line.title} …\n")
        try:
            yield
        except BaseException as error:
            self._end(line, "failed" if isinstance(error, Exception) else "stopped", start)
            if isinstance(error, Exception) and self._failed is None:
                self._failed = line
            raise
        else:
            self._end(line, "done", start)
            logger.info("%s: %.0f s", name, time.monotonic() - start)
        finally:
            self._here.line = None

    def say(self, text: str) -> None:
        """Append a line to the log, as what this thread's step has said."""
        if self._here.line is not None:
            self._here.line.said.append(text)
        with self._writing:
            self._said.write(f"{text}\n")
            self._said.flush()

    def tell(self, done: int, total: int) -> None:
        """Hear how far this thread's step is."""
        if self._here.line is not None and total:
            self._here.line.fraction = done / total

    def _end(self, line: _Line, state: str, start: float) -> None:
        if self._bars and line.task is not None:
            self._lines.pop(line.task)
            whole = {"total": 1.0, "completed": 1.0} if state == "done" else {}
            self._bars.update(line.task, state=state, **whole)  # type: ignore[arg-type]
            self._bars.stop_task(line.task)
        elif state == "done":
            self._write(f"{line.title}: {time.monotonic() - start:.0f} s\n")
        else:
            self._write(f"{line.title}: {state} after {time.monotonic() - start:.0f} s\n")

    def _title(self, name: str) -> str:
        return self._titles.get(name, name).ljust(self._width)

    def _write(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()
