"""Tables with a row a file, CSV or Parquet. Packing and the import of maps read them alike."""

import csv
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cache_schema import Place, open_plain, parse_footer, read_columns
from extract.tables.labels import NOTHING
from extract.tables.text_files import text_lines

logger = logging.getLogger(__name__)

Row = tuple[str, dict[str, str | None]]
"""Place ("line 3" or "row 3"), and the value of each column that the table has; None where it is empty."""
TABLE_COLUMNS = ("path", "label", "image_source", "subset", "split", "group", "derived_from", "class_name")
TABLE_SUFFIXES = (".csv", ".parquet")
SEPARATORS = (",", ";", "\t", "|")
BATCH_ROWS = 8192


def read_table(src: Place) -> Iterator[Row]:
    """Rows of a table, only the columns that are known. A path is as it stands, which need not be UTF-8.

    A CSV file has commas, or what else separates the columns of its header. Case and spaces of a header do not matter.

    Raises:
        ValueError: If it cannot be read, or has no column path or label. A line of another form is named.
    """
    return _read_csv(src) if src.suffix.lower() == ".csv" else _read_parquet(src)


def tell_ignored_columns(src: Place) -> None:
    """Log the columns of a table that are not used.

    Raises:
        ValueError: If it cannot be read, or has no column path or label.
    """
    names = _csv_header(src)[1] if src.suffix.lower() == ".csv" else _parquet_names(src)
    used = _find_columns(src, names)
    if others := [name for i, name in enumerate(names) if i not in used.values()]:
        logger.info("%s: columns that are ignored: %s", src, ", ".join(others))


def _find_columns(src: Place, names: Sequence[str]) -> dict[str, int]:
    """Known column → its place. A name that is exact comes before one that differs in case or spaces."""
    found: dict[str, int] = {}
    for column in TABLE_COLUMNS:
        places = [i for i, name in enumerate(names) if name == column]
        places = places or [i for i, name in enumerate(names) if _plain(name) == column]
        if len(places) > 1:
            raise ValueError(f"{src} has {len(places)} columns {column!r}: expected one")
        if places:
            found[column] = places[0]
    missing = [column for column in TABLE_COLUMNS[:2] if column not in found]
    if missing:
        raise ValueError(
            f"{src} has no column {missing[0]!r}: expected {', '.join(TABLE_COLUMNS)}, the last six optional, "
            f"found {', '.join(map(repr, names[:12])) or 'nothing'}"
        )
    return found


def _plain(name: str) -> str:
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def _csv_header(src: Place) -> tuple["_Lines", list[str]]:
    """The file's lines after its header, and the names in that."""
    best: tuple[_Lines, list[str]] | None = None
    for separator in SEPARATORS:
        lines = _Lines(src, separator)
        names = next((row for _, row in lines), [])
        if {"path", "label"} <= {_plain(name) for name in names}:
            return lines, names
        if best is None or len(names) > len(best[1]):
            best = lines, names
    assert best is not None
    return best


class _Lines:
    """Rows of a CSV file with the number of the line that each begins at; empty lines are left out."""

    def __init__(self, src: Place, separator: str) -> None:
        self._src, self._number = src, 0
        # Where a space follows each separator, it belongs to neither column.
        lines = text_lines(src)
        first = next(lines, "")
        while first and (not first.strip() or first.startswith("sep=")):  # Excel may name the separator so
            self._number += 1
            first = next(lines, "")
        has_spaces = 0 < first.count(separator) == first.count(f"{separator} ")
        self._reader = csv.reader(_chain(first, lines), delimiter=separator, skipinitialspace=has_spaces, strict=True)
        self._offset = self._number

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        return self

    def __next__(self) -> tuple[int, list[str]]:
        while True:
            number = self._offset + self._reader.line_num + 1
            try:
                row = next(self._reader)
            except csv.Error as error:
                raise ValueError(
                    f"{self._src}, line {number}: cannot be read as a row ({error}): expected quotes in pairs"
                ) from error
            if any(value.strip() for value in row):
                return number, row


def _chain(first: str, lines: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
        yield from lines


def _read_csv(src: Place) -> Iterator[Row]:
    lines, names = _csv_header(src)
    columns = _find_columns(src, names)
    for number, row in lines:
        if len(row) < len(names) or any(value.strip() for value in row[len(names) :]):
            raise ValueError(
                f"{src}, line {number}: expected {len(names)} values as in the header, found {len(row)}. A value with "
                "a separator or a line end in it needs quotes"
            )
        values = {column: row[i] for column, i in columns.items()}
        yield f"line {number}", _clean(src, f"line {number}", values)


def _clean(src: Place, place: str, values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Values without spaces around them, None for nothing; the path as it is."""
    cleaned: dict[str, str | None] = {}
    for column, value in values.items():
        if value is None or column == "path":
            cleaned[column] = value or None
            continue
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{src}, {place}: {column} is not UTF-8: save the table as UTF-8") from error
        text = value.strip()
        cleaned[column] = None if text.casefold() in NOTHING else text
    return cleaned


def _parquet_names(src: Place) -> list[str]:
    try:
        with open_plain(src) as file:
            return list(pq.read_schema(file).names)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise ValueError(f"{src} cannot be read as a table: {error}") from error


def _read_parquet(src: Place) -> Iterator[Row]:
    columns = _find_columns(src, names := _parquet_names(src))
    try:
        with open_plain(src) as file:
            table = read_columns(file, parse_footer(file), [names[i] for i in columns.values()])
        table = table.rename_columns(list(columns))
        # Labels may be numbers, and groups too; text is the form that both kinds of file have.
        text = table.cast(pa.schema([(n, pa.binary() if n == "path" else pa.string()) for n in table.column_names]))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{src} cannot be read as a table: {error}") from error
    number = 0
    for batch in text.to_batches(BATCH_ROWS):
        for row in _plain_rows(src, batch):
            number += 1
            path = row["path"]
            row["path"] = None if path is None else os.fsdecode(path)
            yield f"row {number}", _clean(src, f"row {number}", row)


def _plain_rows(src: Place, batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeError as error:
        raise ValueError(f"{src} cannot be read as a table: {error}") from error
    return rows
