"""What a person sees while pictures are asked about: a line each, or a bar; and a summary at the end."""

import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from detect.files.names import shorten_middle, show_text
from detect.files.rows import Row
from detect.files.skipped import Skipped
from detect.files.words import HEADER, UNREADABLE, answer_line, full_answer, plain_line
from detect.verdict import Answer

logger = logging.getLogger(__name__)

TELL_EVERY_SEC = 30.0
MAX_NAME_COLUMNS = 100
"""Of a name in the summary."""
BAR_AFTER_SEC = 2.0
"""Work that is done sooner shows no bar."""


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Say on a terminal that a detector is being loaded, which takes seconds; the line is gone afterwards."""
    stream = sys.stderr
    if not stream.isatty():
        yield
        return
    stream.write(f"Loading {show_text(name)} and its diffusion model …")
    stream.flush()
    try:
        yield
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


class Terminal:
    """Shows answers, as a context around the work.

    Lines go to the standard output: on a terminal a table, elsewhere fields with tabs. Where answers go to a file
    there are no lines, but a bar on the standard error, or a line of the log twice a minute.

    Args:
        num_pictures: How many there will be; None: unknown.
        is_one_picture: Whether a person asked about one picture alone: its answer is told in sentences.
        shows_lines: Whether each answer has a line.
    """

    def __init__(self, num_pictures: int | None, *, is_one_picture: bool, shows_lines: bool) -> None:
        self._out, self._error = sys.stdout, sys.stderr
        self._on_terminal = self._out.isatty()
        self._tells_all = is_one_picture and self._on_terminal
        self._is_one, self._shows_lines = is_one_picture, shows_lines
        self._color = self._on_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        has_bar = self._error.isatty() and not is_one_picture and not (shows_lines and self._on_terminal)
        self._bar = tqdm(total=num_pictures, unit=" pictures", delay=BAR_AFTER_SEC, disable=not has_bar)
        self._tells_log = not shows_lines and not self._error.isatty()
        self.counts: Counter[str] = Counter()
        self.num_kept = 0
        self._first_error = ""
        self._num_lines = 0
        self._start = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.close()

    def keep(self, row: Row) -> None:
        """Count an answer of an earlier run."""
        self.num_kept += 1
        self._count(row)
        if not self._bar.disable:
            self._bar.initial += 1  # no part of the rate
            self._bar.update()

    def show(self, answer: Answer, row: Row, map_path: Path | None) -> None:
        """Show an answer, and count it.

        Args:
            answer: Of one picture.
            row: The same as a row.
            map_path: Its figure, if there is one.
        """
        self._count(row)
        self._bar.update()
        if self._tells_all:
            self._write_line(full_answer(answer, _num_columns(), color=self._color, map_path=map_path))
        elif self._shows_lines and self._on_terminal:
            if self._num_lines == 0:
                self._write_line(HEADER)
            self._write_line(answer_line(answer, _num_columns(), color=self._color))
        elif self._shows_lines:
            self._write_line(plain_line(answer))
        now = time.monotonic()
        if self._tells_log and now - self._told >= TELL_EVERY_SEC:
            logger.info("%s pictures, %s", f"{self.num:,}", self._rate())
            self._told = now

    @property
    def num(self) -> int:
        """Answers, those of earlier runs included."""
        return self.counts.total()

    @property
    def num_unreadable(self) -> int:
        """Pictures without a verdict."""
        return self.counts[UNREADABLE]

    def tell_end(self, skipped: Skipped, out: str | None) -> None:
        """Sum up: counts by verdict, what could not be read, what was passed over, how fast it was."""
        self._bar.close()
        if self._is_one and not out:
            return
        parts = [f"{self.counts[word]:,} {word}" for word in ("generated", "unsure", "real", UNREADABLE)]
        self._tell(f"{_pictures(self.num)}: {', '.join(part for part in parts if part[:2] != '0 ')}. {self._rate()}.")
        if self._first_error:
            self._tell(f"Unreadable, the first: {self._first_error}")
        if self.num_kept:
            self._tell(f"{self.num_kept:,} of them were answered before this run.")
        if skipped.num:
            self._tell(f"Not asked about: {skipped}.")
        if out:
            self._tell(f"Answers: {show_text(out)}")

    def tell_stop(self, out: str | None) -> None:
        """Say what a stopped run leaves."""
        self._bar.close()
        if out is not None:
            self._tell(f"Stopped after {_pictures(self.num)}. The same command goes on from there.")

    def _count(self, row: Row) -> None:
        self.counts[row["verdict"] or UNREADABLE] += 1
        if not row["verdict"] and not self._first_error:
            name = shorten_middle(show_text(row["name"]), MAX_NAME_COLUMNS)
            self._first_error = f"{name}: {show_text(row['error'])}"

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        return f"{(self.num - self.num_kept) / seconds:,.1f} pictures a second"

    def _write_line(self, text: str) -> None:
        self._num_lines += 1
        self._out.write(text + "\n")
        self._out.flush()  # whoever reads the pipe works on it while the next picture is computed

    def _tell(self, sentence: str) -> None:
        self._error.write(sentence + "\n")
        self._error.flush()


def _num_columns() -> int:
    return shutil.get_terminal_size((100, 24)).columns


def _pictures(num: int) -> str:
    return f"{num:,} picture{'' if num == 1 else 's'}"
