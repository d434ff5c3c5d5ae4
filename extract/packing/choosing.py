"""Which of the inspected files are packed: each image once in a subset, and none that the dataset has already."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cache_schema import REJECTED_SCHEMA, Dataset, source_path
from extract.packing.catalogue import Rows, escape
from extract.packing.layouts import Unused
from extract.packing.repeats import Place, Repeats, SplitOf

SAME_BYTES = "same bytes as"


@dataclass
class Choice:
    """What is packed of a source, and what is not."""

    rows: Rows
    """Rows of the files that are packed, ascending."""
    reasons: dict[int, str]
    """Row → why it is left out, beside those whose inspection says why."""
    num_known: int = 0
    """Files that the dataset has already, with these bytes: neither packed nor rejected."""

    @property
    def num_copies(self) -> int:
        """Files with the bytes of another one, of this source or of the dataset: left out, with that reason."""
        return sum(reason.startswith(SAME_BYTES) for reason in self.reasons.values())


def choose(
    files: pa.Table, facts: pa.Table, dataset: Dataset | None = None, *, split_of: SplitOf, copies: bool = False
) -> Choice:
    """Choose among the files that inspection gave no reason to leave out.

    Args:
        files: What `collect_files` gave.
        facts: What `collect_facts` gave, for the same files.
        dataset: What the files are appended to.
        split_of: The split that a file comes to.
        copies: Whether copies of the files are packed. Their bytes are not known yet, so that files that the dataset
            may have stay chosen, and are compared when they are written.

    Raises:
        ValueError: If the dataset has a key with other bytes.
    """
    rows = np.flatnonzero(pc.is_null(facts["rejection"]).to_numpy())
    paths, hashes = _normal_paths(files, rows), _column(facts, "sha256", rows)
    packed = _packed(dataset, paths, hashes, copies)
    new, reasons, repeats = np.flatnonzero(~packed.is_known), {}, Repeats(files, split_of)
    packed.hold(repeats, hashes, rows)
    for what, values, there in (("bytes", hashes, packed.hashes), ("key", paths, packed.paths)):
        first = _first_places(pa.chunked_array([there, values.take(new)]))[len(there) :]
        is_first = first == len(there) + np.arange(len(new))
        for i in np.flatnonzero(~is_first):
            row, same = int(rows[new[i]]), first[i] - len(there)
            name = paths[new[same]] if same >= 0 else packed.paths[first[i]]
            place = repeats.place(int(rows[new[same]])) if same >= 0 else packed.place(int(first[i]), repeats, rows)
            label = repeats.take(row, values[new[i]].as_py(), place) if what == "bytes" else ""
            if label is None:
                is_first[i] = True
            else:
                reasons[row] = f"{SAME_BYTES if what == 'bytes' else 'same key as'} {name}{label}"
        new = new[is_first]
    if copies:
        new = np.union1d(new, np.flatnonzero(packed.is_known))
    return Choice(rows[new], reasons, 0 if copies else int(packed.is_known.sum()))


def find_photographs(files: pa.Table, facts: pa.Table, choice: Choice) -> dict[int, int]:
    """Row → row of the photograph it was made from, for the chosen rows that are not photographs themselves.

    Where the photograph is not in the source, or cannot be used, the row is taken out of the choice.
    """
    rows = choice.rows[pc.not_equal(pc.fill_null(_column(files, "label", choice.rows), -1), 0).to_numpy(False)]
    there = np.flatnonzero(pc.is_valid(facts["sha256"]).to_numpy())
    keys = _column(files, "derived_from", rows).to_pylist()
    wanted = pa.array([None if key is None else source_path(key) for key in keys], pa.large_string())
    place = pc.fill_null(pc.index_in(wanted, value_set=_normal_paths(files, there)), -1).to_numpy()
    for row, key in zip(rows[place < 0].tolist(), (k for k, p in zip(keys, place, strict=True) if p < 0), strict=True):
        choice.reasons[row] = f"the photograph it was made from, {key}, is not in the source or cannot be used"
    choice.rows = np.setdiff1d(choice.rows, rows[place < 0])
    return dict(zip(rows[place >= 0].tolist(), there[place[place >= 0]].tolist(), strict=True))


def rejected_table(files: pa.Table, facts: pa.Table, choice: Choice) -> pa.Table:
    """Rows of rejected.csv: what is left out of the source."""
    reasons = dict(choice.reasons)
    unusable = np.flatnonzero(pc.is_valid(facts["rejection"]).to_numpy())
    reasons.update(zip(unusable.tolist(), _column(facts, "rejection", unusable).to_pylist(), strict=True))
    rows = np.array(sorted(reasons), dtype=np.int64)
    paths = [escape(os.fsdecode(path)) for path in _column(files, "path", rows).to_pylist()]
    columns = [pa.array(paths, pa.string()), pa.array([reasons[row] for row in rows.tolist()], pa.string())]
    return pa.Table.from_arrays(columns, schema=REJECTED_SCHEMA)


def unused_table(unused: Iterable[Unused]) -> pa.Table:
    """Rows of rejected.csv of images that belong to nothing in the source."""
    rows = [(escape(path), escape(reason)) for path, reason in unused]
    return pa.table({"path": [row[0] for row in rows], "reason": [row[1] for row in rows]}, schema=REJECTED_SCHEMA)


def add_to_rejected(earlier: pa.Table, left_out: pa.Table, files: pa.Table) -> pa.Table:
    """What an earlier packing left out of other files, and then what is left out of these."""
    is_here = pc.is_in(earlier["path"].cast(pa.large_binary()), value_set=files["path"])
    is_left_out = pc.is_in(earlier["path"], value_set=left_out["path"])
    return pa.concat_tables([earlier.filter(pc.invert(pc.or_(is_here, is_left_out))), left_out])


@dataclass(frozen=True)
class _Packed:
    """What must not come a second time."""

    is_known: NDArray[np.bool_]
    """For each usable file whether the dataset has its key."""
    hashes: pa.Array
    paths: pa.Array
    index: pa.Table | None = None
    """Label, subset and split of each of them; None: they are files of the source, those that are known."""

    def place(self, i: int, repeats: Repeats, rows: Rows) -> Place:
        """Where one of them belongs; `rows` are those of the usable files."""
        if self.index is None:
            return repeats.place(int(rows[np.flatnonzero(self.is_known)[i]]))
        return Place(*(self.index[name][i].as_py() for name in ("label", "subset", "split")))

    def hold(self, repeats: Repeats, hashes: pa.Array, rows: Rows) -> None:
        """Note which subsets have the bytes of new files already."""
        is_new = pa.array(~self.is_known)
        for i in np.flatnonzero(pc.is_in(self.hashes, value_set=hashes.filter(is_new)).to_numpy(False)):
            repeats.hold(self.hashes[i].as_py(), self.place(int(i), repeats, rows))


def _packed(dataset: Dataset | None, paths: pa.Array, hashes: pa.Array, copies: bool) -> _Packed:
    if dataset is None:
        return _Packed(np.zeros(len(paths), dtype=bool), hashes.slice(0, 0), paths.slice(0, 0))
    index = dataset.table(["key", "sha256", "label", "subset", "split"])
    there = pa.array(map(source_path, index["key"].to_pylist()), paths.type)
    place = pc.fill_null(pc.index_in(paths, value_set=there), -1).to_numpy()
    is_known = place >= 0
    if copies:
        return _Packed(is_known, hashes.filter(is_known), paths.filter(is_known))
    there_hashes = pa.array(map(bytes.fromhex, index["sha256"].to_pylist()), hashes.type)
    is_other = pc.not_equal(hashes.filter(is_known), there_hashes.take(place[is_known]))
    for path in paths.filter(is_known).filter(is_other):
        raise ValueError(
            f"{path} is in the dataset with other bytes: it has changed since. Give the new file another name, or pack "
            "a new folder."
        )
    return _Packed(is_known, there_hashes, there, index)


def _column(table: pa.Table, name: str, rows: Rows) -> pa.Array:
    return table[name].take(pa.array(rows)).combine_chunks()


def _normal_paths(files: pa.Table, rows: Rows) -> pa.Array:
    """Paths in the form that keys are made from; only for rows whose path is UTF-8."""
    return pc.utf8_normalize(_column(files, "path", rows).cast(pa.large_string()), form="NFC")


def _first_places(values: pa.ChunkedArray) -> Rows:
    """For each value the place where it comes first."""
    codes = pc.dictionary_encode(values).unify_dictionaries()
    codes = np.concatenate([np.zeros(0, np.int32), *(chunk.indices.to_numpy() for chunk in codes.chunks)])
    _, first = np.unique(codes, return_index=True)
    return np.asarray(first[codes])
