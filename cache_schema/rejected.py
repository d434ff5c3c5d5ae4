"""`rejected.csv` of a dataset: what was in the source and is not in the dataset, and why."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from cache_schema.addresses import Place
from cache_schema.errors import DatasetError
from cache_schema.plain_files import open_plain
from cache_schema.shown import guard_cell, unguard_cell

REJECTED_SCHEMA = pa.schema([pa.field("path", pa.string()), pa.field("reason", pa.string())])
"""Columns of rejected.csv."""


def write_rejected(path: Path, rejected: pa.Table) -> None:
    """Write rows of `REJECTED_SCHEMA` to a new file; what a spreadsheet computes gets an apostrophe (`guard_cell`)."""
    columns = [
        [None if text is None else guard_cell(text) for text in rejected[name].to_pylist()]
        for name in REJECTED_SCHEMA.names
    ]
    with path.open("xb") as file:
        pa.csv.write_csv(pa.table(columns, schema=REJECTED_SCHEMA), file)


def read_rejected(path: Place) -> pa.Table | None:
    """The rows that `write_rejected` was given; None where there is no such file.

    Raises:
        DatasetError: If it cannot be read as such a table.
    """
    types = pa.csv.ConvertOptions(column_types={field.name: field.type for field in REJECTED_SCHEMA}, null_values=[])
    quoting = pa.csv.ParseOptions(newlines_in_values=True)
    try:
        content = pa.BufferOutputStream()  # pyarrow's own memory: its threads need no Python (see `read_columns`)
        with open_plain(path) as file:
            content.write(file.read())
        table = pa.csv.read_csv(pa.BufferReader(content.getvalue()), parse_options=quoting, convert_options=types)
        table = table.select(REJECTED_SCHEMA.names)
        columns = [[unguard_cell(text) for text in table[name].to_pylist()] for name in REJECTED_SCHEMA.names]
    except FileNotFoundError:
        return None
    except (OSError, KeyError, UnicodeError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Restore it, or remove it.") from error
    return pa.table(columns, schema=REJECTED_SCHEMA)
