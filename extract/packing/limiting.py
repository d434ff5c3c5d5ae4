"""At most so many images of each image source, chosen by hash: whole groups, each split with its share."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from cache_schema import Dataset
from extract.packing.catalogue import Rows, files_at
from extract.packing.layouts import SourceFile
from extract.packing.splits import hash_fraction

Set = tuple[str, str]
"""Subset and image source: what the limit holds for. The photographs of each subset are a set of their own."""


Groups = dict[str, dict[str, list[int]]]
"""Split → group → rows."""


def limit_files(
    files: pa.Table,
    max_per_source: int,
    seed: int,
    split_of: Callable[[SourceFile], str],
    dataset: Dataset | None = None,
) -> tuple[pa.Table, int]:
    """The files that are inspected, and how many are left out.

    Files are taken in the order of a hash of seed and group, a whole group or none of it. Each split has the share of
    the limit that it has of the files, and at least one. The choice precedes inspection, so that millions of files need
    not be read for a few thousand: a file that cannot be used is not replaced.

    Args:
        files: What `collect_files` gave.
        max_per_source: Most images of a subset and image source, those of the dataset included.
        seed: Of the hash.
        split_of: The split that a file comes to.
        dataset: What they are appended to; files that it has are always taken, and count.

    Returns:
        Rows of `files`, in their order, and the number of those that are not among them.
    """
    there, known = _there(dataset)
    offered: defaultdict[Set, Groups] = defaultdict(dict)
    taken: list[int] = []
    for row, file in enumerate(files_at(files)):
        key = _key(file)
        if key in known:
            taken.append(row)
            continue
        split, group = (split_of(file), file.group or key) if key else ("train", file.path)
        offered[file.subset, file.image_source].setdefault(split, {}).setdefault(group, []).append(row)
    for name, of_set in offered.items():
        taken += _take(of_set, there[name], max_per_source, seed)
    rows: Rows = np.array(sorted(taken), dtype=np.int64)
    return files.take(pa.array(rows)), len(files) - len(rows)


def _there(dataset: Dataset | None) -> tuple[Mapping[Set, Counter[str]], set[str]]:
    """Number of images of each set by split, and all keys."""
    counts: defaultdict[Set, Counter[str]] = defaultdict(Counter)
    keys: set[str] = set()
    if dataset is not None:
        for row in dataset.table(["key", "subset", "image_source", "split"]).to_pylist():
            counts[row["subset"], row["image_source"]][row["split"]] += 1
            keys.add(row["key"])
    return counts, keys


def _key(file: SourceFile) -> str:
    """Its key; "" if its path makes none, which inspection tells."""
    try:
        return file.key
    except ValueError:
        return ""


def _take(offered: Groups, there: Counter[str], most: int, seed: int) -> list[int]:
    sizes = {split: sum(map(len, groups.values())) + there[split] for split, groups in offered.items()}
    sizes |= {split: number for split, number in there.items() if split not in sizes}
    shares, left, rows = share(sizes, most), most - there.total(), list[int]()
    for split, groups in sorted(offered.items()):
        number = there[split]
        for group in sorted(groups, key=lambda group: hash_fraction(seed, f"limit|{group}")):
            size = len(groups[group])
            if number + size <= shares[split] and size <= left:
                rows += groups[group]
                number, left = number + size, left - size
    return rows


def share(sizes: Mapping[str, int], most: int) -> dict[str, int]:
    """Divide a limit among splits by their sizes: at least 1 for each that has images, as far as it goes.

    The fractions that are left go to the splits with the largest remainders.
    """
    total = sum(sizes.values())
    if total <= most:
        return dict(sizes)
    exact = {split: most * size / total for split, size in sizes.items()}
    shares = {split: max(int(part), min(1, sizes[split])) for split, part in exact.items()}
    while sum(shares.values()) > most:
        shares[max(shares, key=lambda split: (shares[split], split))] -= 1
    for split in sorted(sizes, key=lambda split: (int(exact[split]) - exact[split], split)):
        if sum(shares.values()) < most and shares[split] < sizes[split]:
            shares[split] += 1
    return shares
