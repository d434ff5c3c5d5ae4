"""Files of answers: CSV, JSON lines or Parquet, published whole, in constant memory; and JSON lines on a pipe."""

import codecs
import csv
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from cache_schema import ObjectPath, Place, base_names, guard_cell, new_opened, place, state_folder
from detect.files.config import STDIN
from detect.files.journal import Journal
from detect.files.rows import COLUMNS, Row, join_codes

ROWS_A_GROUP = 10_000
"""Of a Parquet file: what is held in memory at a time."""
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("verdict", pa.string()),
        pa.field("probability", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field("p_real", pa.float64()),
        pa.field("false_alarm_rate", pa.float64()),
        pa.field("notes", pa.string(), nullable=False),
        pa.field("mean_lare", pa.float64()),
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("jpeg_quality", pa.int16()),
        pa.field("error", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("detector", pa.string(), nullable=False),
        pa.field("seconds", pa.float64()),
    ]
)


class Results(ABC):
    """Where rows go, as a context around the work."""

    def kept(self) -> Iterator[Row]:
        """The rows that a stopped run of the same command has left."""
        return iter(())

    @abstractmethod
    def write(self, row: Row) -> None:
        """Take the next row."""

    def finish(self) -> None:
        """Publish them: all pictures are answered."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of what is open."""
        return None


class NoResults(Results):
    """Rows are not kept: a person looks at the terminal."""

    def write(self, row: Row) -> None:
        """Forget it."""


class StdoutResults(Results):
    """JSON lines on the standard output, each handed on at once."""

    def write(self, row: Row) -> None:
        """Write one line."""
        sys.stdout.write(json.dumps(row, allow_nan=False) + "\n")  # ASCII: whatever the other side's encoding is
        sys.stdout.flush()


class FileResults(Results):
    """A file that appears whole at the end; until then its rows lie in a journal beside it, `<name>.part`.

    The journal of a file in object storage lies on this machine, in the folder of copies.

    Args:
        path: The file; its suffix says its kind.
        settings: What the rows depend on.
        replace: Replace the file, and a journal of other settings.

    Raises:
        ValueError: As of `Journal`.
    """

    def __init__(self, path: Place, settings: Mapping[str, Any], *, replace: bool) -> None:
        self.path, self._settings, self._replace = path, settings, replace
        self.journal = Journal(journal_path(path), settings, replace=replace)

    def kept(self) -> Iterator[Row]:
        """The rows of the journal."""
        return self.journal.rows()

    def write(self, row: Row) -> None:
        """Append it to the journal."""
        self.journal.write(row)

    def finish(self) -> None:
        """Write the file beside its place, publish it, and remove the journal."""
        write = WRITERS[self.path.suffix.lower()]
        with new_opened(self.path, replace=self._replace) as file:
            write(file, self.journal, self._settings)
        self.journal.remove()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the journal."""
        self.journal.__exit__(kind, error, traceback)


def journal_path(out: Place) -> Path:
    """Where the rows of a file lie until it is whole."""
    folder = state_folder(out) if isinstance(out, ObjectPath) else out.parent
    return folder / f"{out.name}.part"


def check_out(out: str | None, *, replace: bool) -> None:
    """Refuse a file that is finished, and a place that cannot be written.

    Raises:
        ValueError: If the file is there and is not to be replaced, or its folder is not there.
    """
    if out is None or out == STDIN:
        return
    path = place(out)
    if path.exists() and not replace:
        raise ValueError(f"{path} exists. Choose another --out, or replace it with --overwrite true.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: expected a file")
    if isinstance(path, Path) and not path.parent.is_dir():
        raise ValueError(f"{path.parent} is no folder: make it first, or choose another --out")


def open_results(out: str | None, settings: Mapping[str, Any], *, replace: bool) -> Results:
    """Where the rows of `--out` go; None: nowhere.

    Raises:
        ValueError: If a stopped run of other settings stands there.
    """
    if out is None:
        return NoResults()
    return StdoutResults() if out == STDIN else FileResults(place(out), settings, replace=replace)


def _write_csv(file: BinaryIO, journal: Journal, settings: Mapping[str, Any]) -> None:
    writer = csv.DictWriter(codecs.getwriter("utf-8")(file), COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in journal.rows():
        cells = {**row, "notes": join_codes(row)}
        writer.writerow({name: guard_cell(cell) if isinstance(cell, str) else cell for name, cell in cells.items()})


def _write_jsonl(file: BinaryIO, journal: Journal, settings: Mapping[str, Any]) -> None:
    file.writelines(journal.lines())


def _write_parquet(file: BinaryIO, journal: Journal, settings: Mapping[str, Any]) -> None:
    rows = ({**row, "notes": join_codes(row)} for row in journal.rows())
    schema = SCHEMA.with_metadata({"detect": json.dumps(base_names(settings, ("maps",)))})
    with pq.ParquetWriter(file, schema) as writer:
        while group := list(islice(rows, ROWS_A_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema), ROWS_A_GROUP)


WRITERS: dict[str, Callable[[BinaryIO, Journal, Mapping[str, Any]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
"""Suffix → writes the rows of a journal as such a file."""
