"""Groups that lie in several splits: what was trained on would be tested on. One definition for all who refuse them."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema.errors import DatasetError
from cache_schema.index import TEXT_TARS, Dataset
from cache_schema.keys import SPLITS
from cache_schema.shown import shown
from cache_schema.text_hashes import MAX_COMPARED, Hashes, blocks, contains, hash_texts

logger = logging.getLogger(__name__)

GROUP_COLUMNS = ("key", "group", "split", "derived_from")
"""Columns of the index that say which images belong together, and where they lie."""
NUM_NAMED = 3
"""Groups, and images, that a sentence names."""
REPACK = (
    "Pack again with one split for all images of a group; or correct the table and write its splits into the index: "
    "--append true --update_labels true"
)
"""What to do about a dataset that is packed."""


@dataclass(frozen=True)
class DividedGroups:
    """What of a dataset lies in several splits although it belongs together.

    Attributes:
        num_groups: Groups with images in more than one split.
        of_groups: All groups.
        groups: The first few of them, each with its splits.
        num_images: Images that lie in another split, and in another group, than the image that they were made from.
        images: The first few of them, each with that image.
    """

    num_groups: int
    of_groups: int
    groups: tuple[str, ...]
    num_images: int
    images: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.num_groups or self.num_images)

    def sentence(self) -> str:
        """How many there are, and the first few by name; empty if there are none."""
        parts = []
        if self.num_groups:
            named = _list(self.groups, self.num_groups)
            parts.append(f"{self.num_groups:,} of {self.of_groups:,} groups lie in several splits: {named}")
        if self.num_images:
            named = _list(self.images, self.num_images)
            number = f"{self.num_images:,} image{'s lie' if self.num_images > 1 else ' lies'}"
            parts.append(f"{number} in another split than the image of derived_from: {named}")
        return "; ".join(parts)


Scan = Callable[[Sequence[str]], Iterator[pa.Table]]
"""Names of columns of `GROUP_COLUMNS` → all rows of these, some at a time, from the first on at each call."""


def find_divided(table: pa.Table) -> DividedGroups:
    """Find the groups, and the images with what they were made from, that lie in several splits.

    Args:
        table: `GROUP_COLUMNS` of an index, of all splits.
    """
    return _find_divided(lambda columns: iter([table.select(columns)]), len(table))


def _find_divided(scan: Scan, num_rows: int) -> DividedGroups:
    """As `find_divided`, of rows that are gone through several times with 8 bytes of each in memory."""
    marks, at = np.empty(num_rows, np.uint64), 0
    splits: dict[str, int] = {}
    parents = [np.empty(0, np.uint64)]
    for table in scan(("group", "split", "derived_from")):
        marks[at : at + len(table)] = _mark(table, splits)
        at += len(table)
        parents.append(hash_texts(table["derived_from"].drop_null()))
    marks.sort()
    num_groups = min(num_rows, 1)
    divided = [marks[:0]]
    for one, other in blocks(marks):
        is_same = one >> _SPLIT_BITS == other >> _SPLIT_BITS
        num_groups += int((~is_same).sum())
        divided.append(one[is_same & (one != other)] >> _SPLIT_BITS)
    del marks
    of_group = _count_splits(scan, np.unique(np.concatenate(divided)), splits)
    named = []
    for group, counts in of_group.first.items():
        its_splits = sorted(counts, key=splits.__getitem__)
        named.append(f"{shown(group)} ({', '.join(f'{counts[split]} in {split}' for split in its_splits)})")
    num_images, images = _find_apart(scan, np.unique(np.concatenate(parents)), splits)
    return DividedGroups(of_group.number, num_groups, tuple(named), num_images, images)


_SPLIT_BITS = np.uint64(2)
"""Of a mark, which is a group's hash but for these, and they are the split."""


def _mark(table: pa.Table, splits: dict[str, int]) -> Hashes:
    """Hash of each row's group with its split, (rows,); a split that was not met before gets the next number."""
    codes = _number_splits(table, splits).astype(np.uint64)
    if len(splits) > 1 << int(_SPLIT_BITS):
        raise ValueError(f"{len(splits)} splits: expected {', '.join(SPLITS)}")
    return (hash_texts(table["group"]) >> _SPLIT_BITS << _SPLIT_BITS) | codes


def _number_splits(table: pa.Table, splits: dict[str, int]) -> np.ndarray:
    if not len(table):
        return np.zeros(0, np.int64)
    column = table["split"].combine_chunks()
    column = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    numbers = np.array([splits.setdefault(split, len(splits)) for split in column.dictionary.to_pylist()], np.int64)
    codes: np.ndarray = numbers[np.asarray(column.indices)]
    return codes


class _Counted(NamedTuple):
    number: int
    """Groups in several splits."""
    first: dict[str, Counter[str]]
    """The first few of them: split → images."""


def _count_splits(scan: Scan, suspected: Hashes, splits: dict[str, int]) -> _Counted:
    """Count images by split of the groups whose hashes stand in several splits."""
    if not len(suspected):
        return _Counted(0, {})
    found: dict[str, Counter[str]] = {}
    for table in scan(("group", "split")):
        is_suspected = pa.array(contains(suspected, _mark(table, splits) >> _SPLIT_BITS))
        chosen = (table[name].filter(is_suspected).to_pylist() for name in ("group", "split"))
        for group, split in zip(*chosen, strict=True):
            if group in found or len(found) < MAX_COMPARED:
                found.setdefault(group, Counter())[split] += 1
    divided = {group: counts for group, counts in found.items() if len(counts) > 1}
    by_chance = {hash(group) >> 2 for group in found} - {hash(group) >> 2 for group in divided}
    return _Counted(len(suspected) - len(by_chance), dict(islice(divided.items(), NUM_NAMED)))


def _find_apart(scan: Scan, parents: Hashes, splits: dict[str, int]) -> tuple[int, tuple[str, ...]]:
    """Images in another split and group than those that they were made from: their number, and the first few.

    Args:
        scan: The rows.
        parents: Hashes of what images were made from, sorted, each once.
        splits: Numbers of the splits.
    """
    if not len(parents):
        return 0, ()
    number, named = 0, list[str]()
    names = [*splits]
    of_parent = np.zeros(len(parents), np.uint64)
    is_there = np.zeros(len(parents), bool)
    for table in scan(("key", "group", "split")):
        keys = hash_texts(table["key"])
        rows = np.flatnonzero(contains(parents, keys))
        places, first = np.unique(np.searchsorted(parents, keys[rows]), return_index=True)
        is_new = ~is_there[places]
        of_parent[places[is_new]] = _mark(table, splits)[rows[first[is_new]]]
        is_there[places] = True
    for table in scan(GROUP_COLUMNS):
        rows = np.flatnonzero(np.asarray(pc.is_valid(table["derived_from"])))
        places = np.searchsorted(parents, hash_texts(table["derived_from"].take(pa.array(rows))))
        own, other = _mark(table, splits)[rows], of_parent[places]
        in_other_split = (own ^ other) & ((1 << _SPLIT_BITS) - np.uint64(1)) != 0
        is_apart = is_there[places] & in_other_split & (own >> _SPLIT_BITS != other >> _SPLIT_BITS)
        number += int(is_apart.sum())
        for i in np.flatnonzero(is_apart)[: NUM_NAMED - len(named)].tolist():
            row = table.slice(int(rows[i]), 1).to_pylist()[0]
            split = names[int(other[i]) & 3]
            named.append(f"{shown(row['key'])} ({row['split']}) of {shown(row['derived_from'])} ({split})")
    return number, tuple(named)


def _list(names: Sequence[str], number: int) -> str:
    return ", ".join(names) + (f" and {number - len(names):,} more" if number > len(names) else "")


def find_divided_of(dataset: Dataset) -> DividedGroups:
    """As `find_divided`, of a whole index, which is gone through some tars at a time: it takes 8 bytes a sample.

    Raises:
        DatasetError: If the index cannot be read.
    """
    return _find_divided(
        lambda columns: (table for _, table in dataset.scan(columns, TEXT_TARS)),
        sum(tar.num_rows for tar in dataset.tars),
    )


def check_whole_groups(dataset: Dataset, *, allowed: bool, flag: str) -> str | None:
    """Refuse to train or score on a dataset whose groups lie in several splits.

    Args:
        dataset: Its index is read.
        allowed: Warn instead.
        flag: What a person writes to allow it.

    Returns:
        What is divided, for the record; None if nothing is.

    Raises:
        DatasetError: With the first few groups, and what to do.
    """
    divided = find_divided_of(dataset)
    if not divided:
        return None
    sentence = divided.sentence()
    if not allowed:
        raise DatasetError(
            f"{dataset.folder}: {sentence}. Scores would count images that were trained on. {REPACK}. "
            f"{flag} goes on all the same, and results say so."
        )
    logger.warning("%s: %s: allowed here, so that scores count images that were trained on", dataset.folder, sentence)
    return sentence
