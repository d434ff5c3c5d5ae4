"""Rows on their way to a file: whole lines that survive a kill, and where the same command goes on after it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from cache_schema import open_in_place
from detect.files.names import show_text
from detect.files.rows import COLUMNS, Row

FORMAT_VERSION = 1
_BEGINNING = b'{"format_version": '
BLOCK_BYTES = 2**20


class Journal:
    """JSON lines beside the file that they become: a header, then a row an answer. A context around the work.

    Every row is handed to the system when it is written. So a killed process loses at most the line that it was at,
    which is cut off when the journal is opened again.

    Args:
        path: Where it lies.
        settings: What the rows depend on, plain values. A journal of others is refused, with the differences.
        replace: Begin anew where a journal of other settings is found.

    Raises:
        ValueError: If another process writes it, or it was made by other settings or is damaged.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, replace: bool = False) -> None:
        self.path, self._num_kept = path, 0
        header = {"format_version": FORMAT_VERSION, "columns": list(COLUMNS), "settings": dict(settings)}
        self._file: IO[bytes] = open_in_place(path, "ab+", buffering=0)
        try:
            self._lock()
            _check_ours(path)
            _cut_last_line(self._file)
            self._begin(header, replace)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the next one have it; one without rows is of no use."""
        if self.path.exists() and next(self.lines(), None) is None:
            self.path.unlink()
        self._file.close()

    def rows(self) -> Iterator[Row]:
        """The rows that it holds, one after the other.

        Raises:
            ValueError: If a line is none.
        """
        for num, line in self._lines():
            yield _parse(line, self.path, num)

    def lines(self) -> Iterator[bytes]:
        """The rows as they lie in the file, each with its end of line."""
        return (line for _, line in self._lines())

    def write(self, row: Row) -> None:
        """Append a row."""
        self._append(row)

    def remove(self) -> None:
        """Remove it, when what it held is published."""
        self.path.unlink()

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with self.path.open("rb", buffering=BLOCK_BYTES) as file:
            for num, line in enumerate(file, 1):
                if num > 1:
                    yield num, line

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{self.path} is being written by another process. Wait for it, or end it.") from error

    def _begin(self, header: Mapping[str, Any], replace: bool) -> None:
        with self.path.open("rb") as file:
            line = file.readline(BLOCK_BYTES)
        if line:
            there = _parse_header(line)
            if there == header:
                return
            if not replace:
                raise ValueError(_differences(self.path, there, header))
            self._file.truncate(0)
        self._append(header)

    def _append(self, content: Mapping[str, Any]) -> None:
        line = json.dumps(content, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        left = memoryview(line)
        try:
            while left:  # a full disk takes a part and then fails: the cut line goes when the journal is opened again
                left = left[self._file.write(left) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error


def check_order(row: Row, name: str | None, num: int) -> None:
    """Refuse to go on where the nth picture is another one than the nth row tells.

    Args:
        row: Of a stopped run.
        name: The picture's, escaped as in rows; None: there are no more pictures.
        num: 1 for the first.

    Raises:
        ValueError: If it is another one.
    """
    if row["name"] != name:
        now = "there is no such picture now" if name is None else f"picture {num} is now {show_text(name)}"
        raise ValueError(
            f"answer {num} of the stopped run is for {show_text(row['name'])}, but {now}. Ask about the same pictures, "
            "or choose another --out."
        )


def _check_ours(path: Path) -> None:
    """Refuse a file of somebody else before it is touched; ours may be cut anywhere."""
    with path.open("rb") as file:
        head = file.read(len(_BEGINNING))
    if head != _BEGINNING[: len(head)]:
        raise ValueError(f"{path} is there, and is not of this command. Move it away, or choose another --out.")


def _cut_last_line(file: IO[bytes]) -> None:
    """Cut off what stands behind the last end of line."""
    end = os.fstat(file.fileno()).st_size
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        found = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if found >= 0:
            file.truncate(start + found + 1)
            return
        end = start
    file.truncate(0)


def _parse(line: bytes, path: Path, num: int) -> Row:
    try:
        row = json.loads(line)
        if tuple(row) != COLUMNS:
            raise ValueError("other columns")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}, line {num}: no row ({error}). Remove the file to begin anew.") from error
    return dict(row)


def _parse_header(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    return content if isinstance(content, dict) else {}


def _differences(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    before, now = (_flat(each) for each in (there, here))
    lines = [
        f"  {name}: {before.get(name)} ≠ {now.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    return (
        f"{path} was begun with other settings (there ≠ now):\n"
        + "\n".join(lines)
        + "\nGo on with those, choose another --out, or begin anew with --overwrite true."
    )


def _flat(header: Mapping[str, Any]) -> dict[str, Any]:
    settings = header.get("settings")
    others = {name: value for name, value in header.items() if name != "settings"}
    return others | (settings if isinstance(settings, dict) else {})
