"""The photographs of a calibration, each with the group that it belongs to."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import Dataset, is_address, place
from detect.calibrate.config import GroupBy
from detect.files.skipped import Skipped
from detect.files.sources import Sources, dataset_pictures, is_dataset
from detect.picture import Picture

SPLITS = ("train", "validation")
"""Of a packed dataset: its test samples are kept for measuring what the detector finds."""


@dataclass(frozen=True)
class Photograph:
    """A photograph that is to be measured.

    Attributes:
        picture: How its bytes are had.
        group: What it is counted with: others of this name. None: it is a group of its own.
    """

    picture: Picture
    group: str | None


class PhotographSource:
    """The photographs that a command's words mean, in a fixed order.

    Args:
        words: Files, folders, tars, packed datasets.
        group_by: What is a group outside of datasets.

    Raises:
        OSError: If a path is not there or cannot be read.
        ValueError: If a dataset has no photographs to calibrate on.
        CacheError: If a packed dataset is damaged.
    """

    def __init__(self, words: Sequence[str], group_by: GroupBy) -> None:
        self._group_by = group_by
        self._parts = [_DatasetPhotographs.open(word) if is_dataset(place(word)) else Sources([word]) for word in words]

    @property
    def dataset_id(self) -> str | None:
        """Of the packed dataset, where there is nothing else."""
        first = self._parts[0]
        return first.dataset.dataset_id if len(self._parts) == 1 and isinstance(first, _DatasetPhotographs) else None

    @property
    def num_photographs(self) -> int | None:
        """How many there are, where that is known beforehand."""
        counts = [len(p.groups) if isinstance(p, _DatasetPhotographs) else p.num_pictures for p in self._parts]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    @property
    def skipped(self) -> list[Skipped]:
        """What was found in folders and tars and is no picture, one a word."""
        return [part.skipped for part in self._parts if isinstance(part, Sources)]

    def __iter__(self) -> Iterator[Photograph]:
        """All photographs."""
        for part in self._parts:
            if isinstance(part, _DatasetPhotographs):
                yield from part
            else:
                for picture in part:
                    yield Photograph(picture, _folder(picture.name) if self._group_by == "folder" else None)


def _folder(name: str) -> str:
    return os.path.dirname(name if is_address(name) else os.path.abspath(name))


@dataclass(frozen=True)
class _DatasetPhotographs:
    """Photographs of a packed dataset, in the dataset's own groups.

    Attributes:
        dataset: The dataset.
        groups: Key of each photograph → its group.
    """

    dataset: Dataset
    groups: Mapping[str, str]

    @classmethod
    def open(cls, folder: str) -> "_DatasetPhotographs":
        dataset = Dataset.open(folder)
        rows = dataset.table(["key", "label", "split", "group"])
        is_wanted = pc.and_(pc.equal(rows["label"], 0), pc.is_in(rows["split"], pa.array(SPLITS)))
        chosen = rows.filter(is_wanted)
        if not len(chosen):
            raise ValueError(f"{folder} has no photographs of {' or '.join(SPLITS)}: test samples are never used")
        return cls(dataset, dict(zip(chosen["key"].to_pylist(), chosen["group"].to_pylist(), strict=True)))

    def __iter__(self) -> Iterator[Photograph]:
        for picture in dataset_pictures(self.dataset):
            if picture.name in self.groups:
                yield Photograph(picture, f"{self.dataset.dataset_id} {self.groups[picture.name]}")
