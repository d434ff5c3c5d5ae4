"""Groups that lie in several splits: what was trained on would be tested on. One definition for all who refuse them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema.errors import DatasetError
from cache_schema.index import Dataset
from cache_schema.shown import shown

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


def find_divided(table: pa.Table) -> DividedGroups:
    """Find the groups, and the images with what they were made from, that lie in several splits.

    Args:
        table: `GROUP_COLUMNS` of an index, of all splits.
    """
    columns = {name: table[name].combine_chunks() for name in GROUP_COLUMNS}
    groups, splits = (pc.dictionary_encode(columns[name]) for name in ("group", "split"))
    group_of, split_of = (np.asarray(each.indices) for each in (groups, splits))
    pairs = np.unique(np.stack([group_of, split_of]), axis=1)
    divided = np.flatnonzero(np.bincount(pairs[0], minlength=1) > 1)
    named = []
    for group in divided[:NUM_NAMED]:
        its_splits = pairs[1][pairs[0] == group]
        counts = [f"{int(((group_of == group) & (split_of == s)).sum())} in {splits.dictionary[s]}" for s in its_splits]
        named.append(f"{shown(groups.dictionary[group].as_py())} ({', '.join(counts)})")
    apart = _find_apart(columns, group_of, split_of)
    images = tuple(
        f"{shown(columns['key'][row].as_py())} ({columns['split'][row]}) "
        f"of {shown(columns['key'][parent].as_py())} ({columns['split'][parent]})"
        for row, parent in apart[:NUM_NAMED].tolist()
    )
    return DividedGroups(len(divided), len(groups.dictionary), tuple(named), len(apart), images)


def _find_apart(columns: dict[str, pa.Array], group_of: np.ndarray, split_of: np.ndarray) -> np.ndarray:
    """Rows of images, and of those they were made from, that are in other splits and groups: (n, 2), int64."""
    rows = np.flatnonzero(np.asarray(pc.is_valid(columns["derived_from"])))
    parents = pc.index_in(columns["derived_from"].take(pa.array(rows)), value_set=columns["key"])
    parent = np.asarray(pc.fill_null(parents, -1))
    rows, parent = rows[parent >= 0], parent[parent >= 0]
    is_apart = (split_of[rows] != split_of[parent]) & (group_of[rows] != group_of[parent])
    found: np.ndarray = np.stack([rows, parent], axis=1)[is_apart]
    return found


def _list(names: Sequence[str], number: int) -> str:
    return ", ".join(names) + (f" and {number - len(names):,} more" if number > len(names) else "")


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
    divided = find_divided(dataset.table(GROUP_COLUMNS))
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
