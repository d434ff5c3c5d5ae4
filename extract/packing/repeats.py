"""Photographs that several subsets share, as GenImage's `nature` folders do: each subset may have them once.

A copy in another split would be trained on and tested on. So repeats share one group, and all come to one split.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import Dataset, sample_key

SplitOf = Callable[[str | None, str], str]
"""What a source says of a split, and the group → the split that a file comes to."""


def share_groups(files: pa.Table, facts: pa.Table, dataset: Dataset | None = None) -> pa.Table:
    """The files, with one group for the photographs of several subsets that have the same bytes.

    It is the first one's, in the dataset if it is there. A group that the source says stays. What was made from such a
    photograph goes with it.
    """
    is_real = pc.fill_null(pc.and_(pc.is_valid(facts["sha256"]), pc.equal(files["label"], 0)), False)
    rows = np.flatnonzero(is_real.to_numpy())
    hashes = facts["sha256"].take(pa.array(rows)).combine_chunks()
    there = _groups_there(dataset, hashes)
    groups_there = {group for of_same in there.values() for group in of_same}
    first: dict[bytes, tuple[str | None, str]] = {sha256: (None, of_same[0]) for sha256, of_same in there.items()}
    counts = hashes.value_counts()
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist()
    is_repeat = pc.is_in(hashes, value_set=pa.array({*several, *first}, hashes.type))
    if not pc.any(is_repeat).as_py():
        return files
    groups, instead = files["group"].to_pylist(), {}
    for row, sha256 in zip(rows[is_repeat.to_numpy(False)].tolist(), hashes.filter(is_repeat).to_pylist(), strict=True):
        own, subset, key = groups[row], files["subset"][row].as_py(), sample_key(files["path"][row].as_py().decode())
        subset_of_first, group = first.setdefault(sha256, (subset, own or key))
        if not own and subset != subset_of_first and key not in groups_there:
            groups[row] = instead[key] = group
    if not instead:
        return files
    new = pa.array([instead.get(group, group) for group in groups], files.schema.field("group").type)
    return files.set_column(files.schema.get_field_index("group"), "group", new)


def _groups_there(dataset: Dataset | None, hashes: pa.Array) -> dict[bytes, list[str]]:
    """sha256 → groups, of those photographs that the dataset has."""
    if dataset is None:
        return {}
    index = dataset.table(["sha256", "label", "group"])
    there = pa.array(map(bytes.fromhex, index["sha256"].to_pylist()), hashes.type)
    is_there = pc.and_(pc.is_in(there, value_set=hashes), pc.fill_null(pc.equal(index["label"], 0), False))
    found = defaultdict(list)
    for sha256, group in zip(
        there.filter(is_there.combine_chunks()).to_pylist(), index["group"].filter(is_there).to_pylist(), strict=True
    ):
        found[sha256].append(group)
    return found


@dataclass(frozen=True)
class Place:
    """Where an image with some bytes belongs."""

    label: int | None
    subset: str
    split: str


@dataclass
class Repeats:
    """Files that are packed although their bytes are there already."""

    files: pa.Table
    split_of: SplitOf
    _subsets: defaultdict[bytes, set[str]] = field(default_factory=lambda: defaultdict(set))

    def place(self, row: int) -> Place:
        """Where a file of the source belongs."""
        label, subset, split, group, path = (
            self.files[name][row].as_py() for name in ("label", "subset", "split", "group", "path")
        )
        return Place(label, subset, self.split_of(split, group or sample_key(path.decode())))

    def hold(self, sha256: bytes, place: Place) -> None:
        """Note that a subset has these bytes."""
        self._subsets[sha256].add(place.subset)

    def take(self, row: int, sha256: bytes, first: Place) -> str | None:
        """Take a file whose bytes are there; or say, as the end of a reason, why not."""
        mine = self.place(row)
        if mine.label != first.label:
            return f", which has label {first.label}"
        self.hold(sha256, first)
        if mine.label != 0 or mine.subset in self._subsets[sha256]:
            return ""
        if mine.split != first.split:
            return f", which subset {first.subset} has in the split {first.split}"
        self.hold(sha256, mine)
        return None
