"""What a source says otherwise of images that a dataset has already: labels, splits, groups, names."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import INDEX_SCHEMA, UPDATABLE, Dataset, source_path
from extract.packing.catalogue import Rows, files_at
from extract.packing.layouts import SourceFile


@dataclass(frozen=True)
class Corrections:
    """The samples of a dataset of which a source says something else.

    Attributes:
        changes: Column `key`, and all of `UPDATABLE` as the source has them.
        fields: Field → number of samples that differ in it.
        first: What differs in the first of them, for a person.
        num_known: Files of the source that the dataset has.
    """

    changes: pa.Table
    fields: Counter[str]
    first: str
    num_known: int

    def sentence(self) -> str:
        """How many samples differ, in what, and the first of them."""
        fields = ", ".join(f"{name} of {count}" for name, count in self.fields.most_common())
        return f"{len(self.changes)} of {self.num_known} images that are there already: {fields}; {self.first}"


def find_corrections(
    files: pa.Table, usable: Rows, dataset: Dataset, splits_of: Callable[[SourceFile], tuple[str, ...]]
) -> Corrections:
    """Compare a source with the dataset that it is appended to, by key.

    Args:
        files: What `collect_files` gave.
        usable: Rows of the files that can be used; of several with one key the first counts.
        dataset: What they are appended to.
        splits_of: The splits that a file may be in by what the source says of it, the one to write first.
    """
    index = dataset.table(["key", *UPDATABLE])
    paths = pa.array(map(source_path, index["key"].to_pylist()), pa.large_string())
    mine = pc.utf8_normalize(files["path"].take(pa.array(usable)).cast(pa.large_string()), form="NFC")
    place = pc.index_in(paths, value_set=mine.combine_chunks())
    there = np.flatnonzero(pc.is_valid(place).to_numpy(False))
    rows = usable[place.take(pa.array(there)).to_numpy()]
    changed, counts, first = [], Counter[str](), ""
    old_rows = (row for batch in index.take(pa.array(there)).to_batches(8192) for row in batch.to_pylist())
    for old, file in zip(old_rows, files_at(files, rows), strict=True):
        new = _fields(file, old, splits_of(file))
        names = [name for name in UPDATABLE if new[name] != old[name]]
        if not names:
            continue
        counts.update(names)
        changed.append({"key": old["key"], **new})
        first = first or f"the first is {file.path}, " + ", ".join(
            f"{name} {old[name]!r} in the dataset and {new[name]!r} in the source" for name in names
        )
    schema = pa.schema([INDEX_SCHEMA.field(name) for name in ("key", *UPDATABLE)])
    return Corrections(pa.Table.from_pylist(changed, schema=schema), counts, first, len(there))


def _fields(file: SourceFile, old: dict[str, object], splits: tuple[str, ...]) -> dict[str, object]:
    new = {name: getattr(file, name) for name in UPDATABLE}
    new["group"] = file.group or file.key
    new["split"] = old["split"] if old["split"] in splits else splits[0]
    return new
