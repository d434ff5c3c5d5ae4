"""What an image was made from, and that from what: all images of such a chain belong to the group of its root."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import Dataset, sample_key, source_path


class Chains:
    """The groups of a table's images, by path.

    Args:
        parents: Path of an image → path of the image that it was made from.
        groups: Path of an image → its group, where the table says one.
    """

    def __init__(self, parents: Mapping[str, str], groups: Mapping[str, str]) -> None:
        """Nothing is followed yet."""
        self._parents, self._groups = parents, groups
        self._found: dict[str, str] = {}

    def group_of(self, path: str) -> str | None:
        """The group of an image: its own, or the nearest one up its chain, or the key of the chain's root.

        None if it has neither a group nor a parent. A root need not be in the table: its name is enough.

        Raises:
            ValueError: If the chain leads back into itself.
        """
        if path not in self._parents and path not in self._groups:
            return None
        passed: dict[str, None] = {}
        at = path
        while at not in self._found and at not in self._groups and at in self._parents:
            if at in passed:
                circle = [*passed][[*passed].index(at) :]
                shown = " → ".join([*circle[:4], *(["…"] if len(circle) > 4 else []), at])
                raise ValueError(
                    f"derived_from leads in a circle: {shown}. Leave it empty for an image that was made from none"
                )
            passed[at] = None
            at = self._parents[at]
        group = self._found.get(at) or self._groups.get(at) or sample_key(at)
        self._found.update(dict.fromkeys(passed, group))
        return group


def join_groups_there(files: pa.Table, dataset: Dataset | None) -> pa.Table:
    """The files, with the dataset's group for those that were made from an image of the dataset alone.

    Such a file has that image's key for a group, as its table does not say what group the image is in.

    Args:
        files: What `collect_files` gave.
        dataset: What they are appended to.
    """
    if dataset is None or not len(files):
        return files
    groups, there = files["group"].combine_chunks(), dataset.table(["key", "group"])
    place = pc.index_in(groups, value_set=there["key"].combine_chunks())
    rows = np.flatnonzero(np.asarray(pc.is_valid(place)))
    names = pa.array([source_path(key).encode() for key in groups.take(pa.array(rows)).to_pylist()], pa.large_binary())
    rows = rows[~np.asarray(pc.is_in(names, value_set=files["path"].combine_chunks()))]
    if not len(rows):
        return files
    is_elsewhere = np.zeros(len(files), dtype=bool)
    is_elsewhere[rows] = True
    new = pc.if_else(pa.array(is_elsewhere), there["group"].combine_chunks().take(place), groups)
    return files.set_column(files.schema.get_field_index("group"), "group", new)
