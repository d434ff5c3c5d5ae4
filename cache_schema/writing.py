"""Writing a dataset folder: a new one whole or not at all, and more tars for one that exists.

Both hold the folder's lock while they write. What a killed run left behind is never read, and removed by the next run.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cache_schema.addresses import ObjectPath, Place, local, place
from cache_schema.errors import DatasetError
from cache_schema.files import naming, new_folder, publish, temporary_folder, write_text
from cache_schema.index import DATASET_VERSION, INDEX_SCHEMA, Dataset, TarEntry
from cache_schema.keys import SPLITS, parse_tar_name, tar_name
from cache_schema.locks import lock_folder
from cache_schema.rejected import write_rejected
from cache_schema.room import state_folder
from cache_schema.tars import Sample, TarWriter, rows_sha256

MAX_ROWS = 4096
MAX_BYTES = 2**30
MANIFEST = "dataset.json"
ROWS_SUFFIX = ".rows"
"""A closed tar's index rows lie in a file beside it until the index is written: they would fill the memory."""


def check_new(folder: Place) -> None:
    """Raise DatasetError if a folder exists; in object storage, if a dataset is there."""
    if folder.exists() if isinstance(folder, Path) else (folder / MANIFEST).is_file():
        raise DatasetError(f"{folder} exists. Choose another folder, or remove this one yourself.")


def write_dataset(
    folder: str | Place,
    samples: Iterable[Sample],
    settings: Mapping[str, Any],
    *,
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
    rejected: pa.Table | None = None,
    is_locked: bool = False,
) -> Dataset:
    """Write samples to tars and an index, in the order given: the whole folder or nothing.

    The caller shuffles: real and generated must be mixed within a tar. Everything is written to a folder beside the
    target and renamed at the end. To object storage each tar goes once it is closed, then the index, and dataset.json
    last: without it there is no dataset.

    Args:
        folder: New folder; must not exist.
        samples: Samples of any split, in any order.
        settings: How they were made; kept in dataset.json.
        max_rows: A tar is closed at this many samples,
        max_bytes: or when it has reached this size, whichever comes first.
        rejected: Rows of rejected.csv (`REJECTED_SCHEMA`); without it there is no such file.
        is_locked: Whether the caller holds `lock_folder(folder)`.

    Raises:
        DatasetError: If the folder exists, or another process writes it.
        ValueError: If there are no samples, or a key comes twice.
    """
    folder = place(folder).absolute()
    with nullcontext() if is_locked else lock_folder(state_folder(folder)):
        check_new(folder)
        with _new_dataset(folder) as temporary:
            tars = _TarSet(temporary, max_rows, max_bytes, target=folder)
            keys: set[str] = set()
            tars.write(_without_repeated_keys(samples, keys))
            if not tars.entries:
                raise ValueError("no samples to write")
            write_index(temporary / "index.parquet", tars.take_rows())
            if rejected is not None:
                write_rejected(temporary / "rejected.csv", rejected)
            identity = hashlib.sha256("".join(entry.rows_sha256 for entry in tars.entries).encode()).hexdigest()
            write_manifest(temporary, Dataset(folder, identity, tuple(tars.entries), tars.counts, settings))
    return Dataset.open(folder)


def append_dataset(
    folder: str | Place,
    samples: Iterable[Sample],
    settings: Mapping[str, Any],
    *,
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
    rejected: pa.Table | None = None,
    is_locked: bool = False,
) -> tuple[Dataset, int]:
    """Write the samples that a dataset does not have yet to new tars, listed after its own.

    What is there stays as it is: tars, their order, `dataset_id`, and so the stores made from them. The new tars come
    into the folder first, then the index, then dataset.json, each by a rename: readers see the old dataset or the new
    one, and a run that was cut off is finished by the same call again.

    Args:
        folder: Folder of a dataset.
        samples: As in `write_dataset`; those whose key is there with the same bytes are skipped.
        settings: Must be those that the dataset was written with.
        max_rows: As in `write_dataset`.
        max_bytes: As in `write_dataset`.
        rejected: All rows of the new rejected.csv, which replaces the old one; without it that stays.
        is_locked: Whether the caller holds `lock_folder(folder)`.

    Returns:
        The dataset, and the number of samples that were skipped.

    Raises:
        DatasetError: If there is no dataset, its settings are others, or another process writes it.
        ValueError: If a key is there with other bytes, or comes twice.
    """
    folder = local(folder, "out").absolute()
    with nullcontext() if is_locked else lock_folder(folder):
        dataset = Dataset.open(folder)
        dataset.check_settings(settings)
        table = dataset.table(["key", "sha256"])
        packed = dict(zip(table["key"].to_pylist(), map(bytes.fromhex, table["sha256"].to_pylist()), strict=True))
        del table
        with temporary_folder(folder / ".append.tmp") as temporary:
            tars = _TarSet(temporary, max_rows, max_bytes, dataset.tars)
            num_skipped = tars.write(_without_packed(samples, packed))
            if tars.entries:
                old_rows = (dataset.rows(n) for n in range(len(dataset.tars)))
                write_index(temporary / "index.parquet", chain(old_rows, tars.take_rows()))
                write_manifest(temporary, _grown(dataset, tars))
            if rejected is not None:
                write_rejected(temporary / "rejected.csv", rejected)
            _publish(temporary, folder, [entry.name for entry in tars.entries])
        grown = Dataset.open(folder)
        _remove_unlisted_tars(grown)
    return grown, num_skipped


@contextmanager
def _new_dataset(folder: Place) -> Iterator[Path]:
    """Yield a temporary folder to fill; what lies in it at the end is published, dataset.json last."""
    if isinstance(folder, Path):
        with new_folder(folder) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory(prefix="lare-") as name:
        temporary = Path(name)
        with naming(temporary):
            yield temporary
        for name in ("index.parquet", "rejected.csv"):
            if (temporary / name).exists():
                publish(temporary / name, folder / name)
        _send(temporary / MANIFEST, folder / MANIFEST)


def _send(file: Path, target: ObjectPath) -> None:
    """Publish a file where nothing else is; the same bytes may be there, of a packing that did not end."""
    try:
        publish(file, target, replace=False)
    except FileExistsError as error:
        raise DatasetError(
            f"{target} is there with other content, of another packing that runs or did not end. Choose another "
            "folder, or remove what lies in this one yourself."
        ) from error


def _without_repeated_keys(samples: Iterable[Sample], keys: set[str]) -> Iterator[Sample]:
    for sample in samples:
        if sample.key in keys:
            raise ValueError(f"key {sample.key!r} comes twice")
        keys.add(sample.key)
        yield sample


def _without_packed(samples: Iterable[Sample], packed: Mapping[str, bytes]) -> Iterator[Sample | None]:
    """None in the place of a sample that is there already."""
    keys: set[str] = set()
    for sample in _without_repeated_keys(samples, keys):
        known = packed.get(sample.key)
        if known is not None and known.hex() != sample.fields.sha256:
            raise ValueError(
                f"key {sample.key!r} is in the dataset with other bytes: its file has changed since. Give the new file "
                "another name, or pack a new folder."
            )
        yield sample if known is None else None


@dataclass
class _OpenTar:
    name: str
    writer: TarWriter
    rows: list[dict[str, Any]] = field(default_factory=list)


class _TarSet:
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
            _send(self._folder / tar.name, self._target / tar.name)
        pq.write_table(pa.Table.from_pylist(tar.rows, schema=INDEX_SCHEMA), self._folder / (tar.name + ROWS_SUFFIX))

    def take_rows(self) -> Iterator[pa.Table]:
        """Index rows of each tar, in the entries' order; their files are removed."""
        for entry in self.entries:
            path = self._folder / (entry.name + ROWS_SUFFIX)
            yield pq.read_table(path, schema=INDEX_SCHEMA)
            path.unlink()


def _grown(dataset: Dataset, tars: _TarSet) -> Dataset:
    counts = {split: Counter(sources) for split, sources in dataset.counts.items()}
    for split, added in tars.counts.items():
        counts.setdefault(split, Counter()).update(added)
    return replace(dataset, tars=(*dataset.tars, *tars.entries), counts=counts)


def write_index(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write index.parquet: a row group a tar, in the order of the list in dataset.json."""
    with pq.ParquetWriter(path, INDEX_SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=len(table))


def write_manifest(folder: Path, dataset: Dataset) -> None:
    """Write dataset.json of a dataset to a folder."""
    content = {
        "format_version": DATASET_VERSION,
        "dataset_id": dataset.dataset_id,
        "tars": [asdict(entry) for entry in dataset.tars],
        "counts": {split: dict(sorted(counts.items())) for split, counts in dataset.counts.items()},
        "settings": dict(dataset.settings),
        **({"updated": list(dataset.updated)} if dataset.updated else {}),
    }
    write_text(folder / "dataset.json", json.dumps(content, indent=1, sort_keys=True) + "\n", durable=False)


def _publish(temporary: Path, folder: Path, tars: list[str]) -> None:
    for name in [*tars, "index.parquet", "rejected.csv", "dataset.json"]:
        if (temporary / name).exists():
            publish(temporary / name, folder / name)


def _remove_unlisted_tars(dataset: Dataset) -> None:
    """Remove tars of an earlier run that was cut off after they had come into the folder, and that had more of them."""
    listed = {entry.name for entry in dataset.tars}
    for path in local(dataset.folder, "the dataset").glob("*.tar"):
        try:
            parse_tar_name(path.name)
        except ValueError:
            continue
        if path.name not in listed:
            path.unlink()
