"""The files of a source and what inspection found, as columns: about 200 bytes a file, for millions of them."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from extract.packing.inspecting import Facts
from extract.packing.layouts import SourceFile

COLLECT_ROWS = 65_536
TAKE_ROWS = 1024

Rows = NDArray[np.int64]

_FILES = pa.schema(
    {
        "path": pa.large_binary(),  # as the file system has it, which need not be UTF-8
        "label": pa.int8(),
        "image_source": pa.string(),
        "subset": pa.string(),
        "split": pa.string(),
        "group": pa.string(),
        "derived_from": pa.string(),
        "class_name": pa.string(),
        "source_path": pa.string(),
        "tar": pa.string(),
        "offset": pa.int64(),
        "size": pa.int64(),
        "sha256": pa.string(),
    }
)
_FACTS = pa.schema(
    {
        "sha256": pa.binary(32),
        "width": pa.int32(),
        "height": pa.int32(),
        "format": pa.string(),
        "jpeg_quality": pa.int16(),
        "rejection": pa.string(),
        "likeness": pa.uint64(),
    }
)


def collect_files(files: Iterable[SourceFile]) -> pa.Table:
    """Files as columns."""
    return _collect(files, _FILES, path=os.fsencode)


def collect_facts(facts: Iterable[Facts]) -> pa.Table:
    """Facts as columns."""
    return _collect(facts, _FACTS, sha256=lambda text: None if text is None else bytes.fromhex(text))


def _collect(records: Iterable[Any], schema: pa.Schema, **convert: Callable[[Any], Any]) -> pa.Table:
    stream = iter(records)
    pieces: dict[str, list[pa.Array]] = {name: [pa.array([], schema.field(name).type)] for name in schema.names}
    while chunk := list(islice(stream, COLLECT_ROWS)):
        for name in schema.names:
            values = [getattr(record, name) for record in chunk]
            if name in convert:
                values = [convert[name](value) for value in values]
            pieces[name].append(_array(values, schema.field(name).type))
    # In one piece: rows are taken from it in random order, and Arrow would put the pieces together each time. Column by
    # column: the pieces of one are freed before the next is copied.
    columns = [pa.concat_arrays(pieces.pop(name)) for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


def _array(values: list[Any], type: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type)
    except UnicodeEncodeError:  # names of folders are names of image sources, and need not be UTF-8 either
        return pa.array([value if value is None else escape(value) for value in values], type)


def escape(name: str) -> str:
    """A name from the file system as it is written down: what is not UTF-8 in it as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def files_at(table: pa.Table, rows: Rows | None = None) -> Iterator[SourceFile]:
    """Files of some rows, or of all."""
    names = [field.name for field in fields(SourceFile)]
    for row in _take(table, rows):
        row["path"] = os.fsdecode(row["path"])
        yield SourceFile(*(row[name] for name in names))


def facts_at(table: pa.Table, rows: Rows) -> Iterator[Facts]:
    """Facts of some rows that were readable."""
    for row in _take(table, rows):
        row["sha256"] = row["sha256"].hex()
        yield Facts(**row)


def _take(table: pa.Table, rows: Rows | None) -> Iterator[dict[str, Any]]:
    for start in range(0, len(table) if rows is None else len(rows), TAKE_ROWS):
        part = table.slice(start, TAKE_ROWS) if rows is None else table.take(rows[start : start + TAKE_ROWS])
        yield from part.to_pylist()
