"""How many images a packing has and was offered, by split, subset and class."""

from collections import Counter
from collections.abc import Callable, Iterable

import pyarrow as pa

from cache_schema import Dataset
from extract.packing.layouts import SourceFile

Cell = tuple[str, str, int]
"""Split, subset and label, 0 real or 1 generated."""


def count_used(
    files: Iterable[SourceFile], split_of: Callable[[SourceFile], str], dataset: Dataset | None
) -> Counter[Cell]:
    """Images with a label that the dataset will have: these files, and what it has beside them."""
    used: Counter[Cell] = Counter()
    keys = set()
    for file in files:
        if file.label is not None:
            used[split_of(file), file.subset, file.label] += 1
            if dataset is not None:
                keys.add(file.key)
    if dataset is not None:
        for row in dataset.table(["key", "split", "subset", "label"]).to_pylist():
            if row["label"] is not None and row["key"] not in keys:
                used[row["split"], row["subset"], row["label"]] += 1
    return used


def count_offered(files: pa.Table) -> Counter[tuple[str, int]]:
    """Files with a label by subset and label, whether they can be used or not."""
    pairs = zip(files["subset"].to_pylist(), files["label"].to_pylist(), strict=True)
    return Counter((subset, label) for subset, label in pairs if label is not None)
