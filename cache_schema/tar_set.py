"""The tars of a dataset while they are being written, and their way to object storage."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cache_schema.addresses import ObjectPath, Place
from cache_schema.dataset_file import TarEntry
from cache_schema.errors import DatasetError
from cache_schema.files import publish
from cache_schema.index import INDEX_SCHEMA
from cache_schema.keys import SPLITS, parse_tar_name, tar_name
from cache_schema.tars import Sample, TarWriter, rows_sha256

ROWS_SUFFIX = ".rows"
"""A closed tar's index rows lie in a file beside it until the index is written: they would fill the memory."""


@dataclass
class _OpenTar:
    name: str
    writer: TarWriter
    rows: list[dict[str, Any]] = field(default_factory=list)


class TarSet:
    """Tars that are being written to a folder, one open for each split; their numbers go on from those of `before`."""

    def __init__(
        self,
        folder: Path,
        max_rows: int,
        max_bytes: int,
        before: Iterable[TarEntry] = (),
        target: Place | None = None,
    ) -> None:
        self._folder, self._max_rows, self._max_bytes = folder, max_rows, max_bytes
        self._target = target
        self._open: dict[str, _OpenTar] = {}
        self._numbers: Counter[str] = Counter()
        for split, number in (parse_tar_name(entry.name) for entry in before):
            self._numbers[split] = max(self._numbers[split], number + 1)
        self.entries: list[TarEntry] = []
        """Closed tars, by split and number once `write` is through."""
        self.counts: dict[str, Counter[str]] = {}

    def write(self, samples: Iterable[Sample | None]) -> int:
        """Write all samples, close the tars, and return how many samples were None."""
        num_skipped = 0
        try:
            for sample in samples:
                if sample is None:
                    num_skipped += 1
                else:
                    self._add(sample)
            for split in list(self._open):
                self._close(split)
        finally:
            for tar in self._open.values():  # only after an error
                tar.writer.close()
        self.entries.sort(key=lambda entry: (SPLITS.index(parse_tar_name(entry.name)[0]), entry.name))
        return num_skipped

    def _add(self, sample: Sample) -> None:
        split = sample.fields.split
        if split not in self._open:
            name = tar_name(split, self._numbers[split])
            self._numbers[split] += 1
            self._open[split] = _OpenTar(name, TarWriter(self._folder / name))
        tar = self._open[split]
        offset = tar.writer.add(sample)
        place = {"key": sample.key, "tar": tar.name, "row": len(tar.rows), "offset": offset}
        tar.rows.append({**place, "size": len(sample.image), **asdict(sample.fields)})
        if len(tar.rows) >= self._max_rows or tar.writer.num_bytes >= self._max_bytes:
            self._close(split)

    def _close(self, split: str) -> None:
        tar = self._open.pop(split)
        tar.writer.close()
        digest = rows_sha256((r["key"] for r in tar.rows), (bytes.fromhex(r["sha256"]) for r in tar.rows))
        self.entries.append(TarEntry(tar.name, len(tar.rows), tar.writer.num_bytes, digest))
        self.counts.setdefault(split, Counter()).update(r["image_source"] for r in tar.rows)
        if isinstance(self._target, ObjectPath):
            send(self._folder / tar.name, self._target / tar.name)
        pq.write_table(pa.Table.from_pylist(tar.rows, schema=INDEX_SCHEMA), self._folder / (tar.name + ROWS_SUFFIX))

    def take_rows(self) -> Iterator[pa.Table]:
        """Index rows of each tar, in the entries' order; their files are removed."""
        for entry in self.entries:
            path = self._folder / (entry.name + ROWS_SUFFIX)
            yield pq.read_table(path, schema=INDEX_SCHEMA)
            path.unlink()


def send(file: Path, target: ObjectPath) -> None:
    """Publish a file where nothing else is; the same bytes may be there, of a packing that did not end.

    Raises:
        DatasetError: If an object with other bytes is there.
        StorageError: If the service does not answer, or refuses.
    """
    try:
        publish(file, target, replace=False)
    except FileExistsError as error:
        raise DatasetError(
            f"{target} is there with other content, of another packing that runs or did not end. Choose another "
            "folder, or remove what lies in this one yourself."
        ) from error
