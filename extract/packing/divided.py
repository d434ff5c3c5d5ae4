"""Whether a packing would divide a group between splits, and what its images were made from that is not there."""

import logging
from collections.abc import Callable, Iterator
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import GROUP_COLUMNS, INDEX_SCHEMA, Dataset, find_divided
from extract.packing.catalogue import COLLECT_ROWS, Rows, files_at
from extract.packing.layouts import SourceFile

logger = logging.getLogger(__name__)

_SCHEMA = pa.schema([INDEX_SCHEMA.field(name) for name in GROUP_COLUMNS])


def check_groups(
    files: pa.Table,
    rows: Rows,
    split_of: Callable[[SourceFile], str],
    dataset: Dataset | None,
    changes: pa.Table | None,
    *,
    allowed: bool,
) -> None:
    """Refuse a packing that divides a group between splits, before anything is written.

    Args:
        files: All of the source.
        rows: Which of them are packed.
        split_of: The split that a file comes to.
        dataset: What they are appended to.
        changes: Other fields that it will have, by `key`.
        allowed: Only tell it.

    Raises:
        ValueError: With the first few groups, unless `allowed`.
    """
    table = _make_table(files, rows, split_of, dataset, changes)
    _tell_missing(table)
    divided = find_divided(table)
    if not divided:
        return
    if not allowed:
        raise ValueError(
            f"{divided.sentence()}. What is trained on would be tested on. Give all files of a group one split, or say "
            "no split at all: packing then cuts by group. --allow_divided_groups true packs them as they are"
        )
    logger.warning(
        "%s: allowed here. Training and evaluation refuse them unless that is allowed too", divided.sentence()
    )


def _make_table(
    files: pa.Table,
    rows: Rows,
    split_of: Callable[[SourceFile], str],
    dataset: Dataset | None,
    changes: pa.Table | None,
) -> pa.Table:
    """`GROUP_COLUMNS` of all images that the dataset will have, each key once."""
    tables: list[pa.Table] = []
    if changes is not None:
        tables.append(changes.select(GROUP_COLUMNS))
    if dataset is not None:
        tables.append(_without(dataset.table(GROUP_COLUMNS), tables))
    tables.append(_without(pa.Table.from_batches(_batches(files_at(files, rows), split_of), _SCHEMA), tables))
    return pa.concat_tables(table.cast(_SCHEMA) for table in tables)


def _without(table: pa.Table, others: list[pa.Table]) -> pa.Table:
    keys = pa.chunked_array([chunk for other in others for chunk in other["key"].chunks], pa.string())
    return table.filter(pc.invert(pc.is_in(table["key"], value_set=keys.combine_chunks())))


def _batches(files: Iterator[SourceFile], split_of: Callable[[SourceFile], str]) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(files, COLLECT_ROWS)):
        keys = [file.key for file in chunk]
        columns = {
            "key": keys,
            "group": [file.group or key for file, key in zip(chunk, keys, strict=True)],
            "split": [split_of(file) for file in chunk],
            "derived_from": [file.derived_from for file in chunk],
        }
        yield pa.record_batch([pa.array(columns[name], _SCHEMA.field(name).type) for name in GROUP_COLUMNS], _SCHEMA)


def _tell_missing(table: pa.Table) -> None:
    """Log how many images were made from images that are not there, and the first of them."""
    made = table.filter(pc.is_valid(table["derived_from"]))
    is_missing = pc.invert(pc.is_in(made["derived_from"], value_set=table["key"].combine_chunks()))
    missing = made.filter(is_missing).select(["key", "derived_from"])
    if not len(missing):
        return
    first = missing.slice(0, 1).to_pylist()[0]
    logger.warning(
        "%s of %s derived images were made from images that are not in the dataset; the first is %s, of %s. They are "
        "grouped by that name",
        f"{len(missing):,}",
        f"{len(made):,}",
        first["key"],
        first["derived_from"],
    )
