"""Corrected fields of packed samples: the index alone is written, and tars and caches stay as they are."""

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from cache_schema.addresses import local
from cache_schema.files import publish, temporary_folder
from cache_schema.index import INDEX_SCHEMA, Dataset
from cache_schema.writing import write_index, write_manifest

UPDATABLE = ("label", "image_source", "subset", "split", "group", "derived_from", "class_name")
"""What a person says of a sample. All else follows from its bytes and its place."""


def update_index(dataset: Dataset, changes: pa.Table) -> Dataset:
    """Write other fields of samples that are in a dataset. The caller holds `lock_folder(dataset.folder)`.

    A tar keeps its name where samples in it come to another split: the index counts. dataset.json keeps the names of
    the fields that were updated, since the json copies in the tars still say the old ones.

    Args:
        dataset: What is updated.
        changes: Column `key`, each key once, and all fields of `UPDATABLE` in the types of `INDEX_SCHEMA`.

    Raises:
        ValueError: If a key is not in the dataset.
    """
    index = dataset.table()
    place = pc.index_in(index["key"], value_set=changes["key"].combine_chunks())
    if len(place) - place.null_count != len(changes):
        raise ValueError(f"{dataset.folder} has {len(place) - place.null_count} of {len(changes)} keys to update")
    is_changed, updated = pc.is_valid(place), {*dataset.updated}
    for name in UPDATABLE:
        old, new = index[name].combine_chunks(), changes[name].combine_chunks().take(place.combine_chunks())
        column = pc.if_else(is_changed.combine_chunks(), new, old)
        if not column.equals(old):
            updated.add(name)
        index = index.set_column(index.schema.get_field_index(name), INDEX_SCHEMA.field(name), column)
    counts: dict[str, Counter[str]] = {}
    for row in (
        index.select(["split", "image_source"])
        .group_by(["split", "image_source"])
        .aggregate([([], "count_all")])
        .to_pylist()
    ):
        counts.setdefault(row["split"], Counter())[row["image_source"]] = row["count_all"]
    _publish(replace(dataset, counts=counts, updated=tuple(sorted(updated))), index)
    return Dataset.open(dataset.folder)


def _publish(dataset: Dataset, index: pa.Table) -> None:
    starts = [0]
    for tar in dataset.tars:
        starts.append(starts[-1] + tar.num_rows)
    tables = (index.slice(start, tar.num_rows) for start, tar in zip(starts, dataset.tars, strict=False))
    folder = local(dataset.folder, "the dataset")
    with temporary_folder(folder / ".append.tmp") as temporary:
        write_index(temporary / "index.parquet", tables)
        write_manifest(temporary, dataset)
        # dataset.json first: a run that is cut off in between finds the old index, and does both again.
        for name in ("dataset.json", "index.parquet"):
            publish(temporary / name, folder / name)
