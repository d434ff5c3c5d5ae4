"""Parquet files that strangers may have made: their columns compared, their sizes known, before anything is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cache_schema.parquet_footer import RowGroups, read_row_groups
from cache_schema.parquet_pages import INFLATED_BYTES, INFLATED_TIMES, check_pages
from cache_schema.plain_files import size_of
from cache_schema.shown import shown

_TEXT = "BYTE_ARRAY"
_MAGIC = b"PAR1"


@dataclass(frozen=True)
class Footer:
    """What a file's footer says."""

    schema: pq.FileMetaData
    """The columns, of a file without rows. Ask no row groups of pyarrow: it ends the process where they are not as it
    expects."""
    groups: RowGroups

    @property
    def num_rows(self) -> int:
        """Rows of all groups."""
        return int(self.groups.num_rows.sum())

    @property
    def names(self) -> list[str]:
        """Names of the columns, as paths."""
        return [self.schema.schema.column(i).path for i in range(self.schema.num_columns)]


def parse_footer(file: BinaryIO) -> Footer:
    """The footer of a file, whose rows are no more than its bytes.

    Raises:
        ValueError: If there are more: repeated values take no room in the file, and all of it in memory.
        pyarrow.ArrowException: If it is no Parquet file.
    """
    num_bytes = size_of(file)
    file.seek(max(0, num_bytes - len(_MAGIC)))
    if file.read(len(_MAGIC)) != _MAGIC or num_bytes < 3 * len(_MAGIC):
        raise ValueError("it is no Parquet file")
    groups = read_row_groups(file, num_bytes)
    file.seek(0)
    if (num_rows := int(groups.num_rows.sum())) > num_bytes:
        raise ValueError(f"it has {num_rows:,} rows in {num_bytes:,} bytes: expected no more rows than bytes")
    schema = groups.metadata([])
    if len(groups) and groups.places.shape[1] != schema.num_columns:
        raise ValueError(f"a row group has not {schema.num_columns} columns")
    return Footer(schema, groups)


def check_schema(metadata: pq.FileMetaData, schema: pa.Schema) -> None:
    """Raise ValueError if a file has other columns, by the file's own types; Arrow's are a text in it.

    Args:
        metadata: Its footer.
        schema: Flat columns of texts and integers.
    """
    found = [_describe(metadata.schema.column(i)) for i in range(metadata.num_columns)]
    expected = [_describe_field(field) for field in schema]
    if found != expected:
        other = next((pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]), None)
        what = (
            f"column {other[0]} where {other[1]} is expected"
            if other
            else f"{len(found)} columns: {len(schema)} expected"
        )
        raise ValueError(f"it has {what}")


def _describe(column: pq.ColumnSchema) -> str:
    kind = column.logical_type.type if column.logical_type else "NONE"
    nested = " of several levels" if column.max_repetition_level or column.max_definition_level > 1 else ""
    return f"{shown(column.path)} {column.physical_type} {kind}{nested}"


def _describe_field(field: pa.Field) -> str:
    kinds = {pa.string(): f"{_TEXT} STRING", pa.int64(): "INT64 NONE", pa.int32(): "INT32 NONE"}
    return f"{field.name} {kinds.get(field.type, 'INT32 INT')}"


def read_columns(
    file: BinaryIO,
    footer: Footer,
    names: Sequence[str],
    row_groups: Sequence[int] | None = None,
    *,
    as_dictionaries: bool = False,
) -> pa.Table:
    """Flat columns of a file, texts as plain texts.

    Args:
        file: The file.
        footer: As `parse_footer` gave it.
        names: Of the columns; each is there once.
        row_groups: Those that are read; None: all.
        as_dictionaries: Leave texts that share a dictionary in the file as they are.

    Raises:
        ValueError: If a column is nested, is not there, or takes more memory than such a file can need.
        pyarrow.ArrowException: If it is damaged.
    """
    num_bytes, schema = size_of(file), footer.schema.schema
    places = {name: i for i, name in enumerate(footer.names)}
    if missing := [name for name in names if name not in places]:
        raise ValueError(f"it has no flat column {shown(missing[0])}")
    groups = list(range(len(footer.groups)) if row_groups is None else row_groups)
    shared = check_pages(file, num_bytes, footer.groups.places, groups, (places[name] for name in names))
    is_text = {name: schema.column(places[name]).physical_type == _TEXT for name in names}
    texts = [name for name in names if is_text[name] and places[name] in shared]
    file.seek(0)
    # A text that a million rows share is there once, as long as it is a dictionary's.
    metadata = footer.groups.metadata(groups)
    # A thread of pyarrow's may let go of Python's bytes after the call has returned. Where the program has ended
    # meanwhile, Python 3.11 to 3.13 end such a thread in a way that aborts the process: so there are none.
    with pq.ParquetFile(
        file, metadata=metadata, read_dictionary=texts, pre_buffer=False, page_checksum_verification=True
    ) as opened:
        table = opened.read(columns=list(names), use_threads=False)
    most = INFLATED_BYTES + INFLATED_TIMES * num_bytes
    # The longest text in each row is soon known to be little.
    total = sum(_most_text_bytes(table[name]) for name in texts)
    if total > most and (total := sum(_text_bytes(table[name]) for name in texts)) > most:
        raise ValueError(f"its texts have {total:,} bytes in a file of {num_bytes:,}: expected {most:,} at most")
    for name in [] if as_dictionaries else texts:
        at = table.schema.get_field_index(name)
        field = table.schema.field(name)
        if pa.types.is_dictionary(field.type):
            plain = field.with_type(field.type.value_type)
            table = table.set_column(at, plain, table[name].cast(plain.type))
    return table.unify_dictionaries().combine_chunks()


def _most_text_bytes(column: pa.ChunkedArray) -> int:
    dictionaries = [chunk for chunk in column.chunks if pa.types.is_dictionary(chunk.type)]
    return sum(len(chunk) * (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0) for chunk in dictionaries)


def _text_bytes(column: pa.ChunkedArray) -> int:
    total = 0
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
            total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total
