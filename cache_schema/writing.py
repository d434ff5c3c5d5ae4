"""Writing a dataset folder: a new one whole or not at all, and more tars for one that exists.

Both hold the folder's lock while they write. What a killed run left behind is never read, and removed by the next run.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cache_schema.addresses import Place, place
from cache_schema.errors import DatasetError
from cache_schema.files import naming, new_folder, publish, temporary_folder, write_text
from cache_schema.index import DATASET_VERSION, INDEX_SCHEMA, Dataset
from cache_schema.keys import parse_tar_name
from cache_schema.locks import lock_folder
from cache_schema.rejected import write_rejected
from cache_schema.room import state_folder
from cache_schema.tar_set import TarSet, send
from cache_schema.tars import Sample

MAX_ROWS = 4096
MAX_BYTES = 2**30
MANIFEST = "dataset.json"


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
            tars = TarSet(temporary, max_rows, max_bytes, target=folder)
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
    one, and a run that was cut off is finished by the same call again. In object storage each is a request; of two
    machines that append at a time one is refused, as tars never take another's place there.

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
    folder = place(folder).absolute()
    with nullcontext() if is_locked else lock_folder(state_folder(folder)):
        dataset = Dataset.open(folder)
        dataset.check_settings(settings)
        table = dataset.table(["key", "sha256"])
        packed = dict(zip(table["key"].to_pylist(), map(bytes.fromhex, table["sha256"].to_pylist()), strict=True))
        del table
        with _folder_for_more(folder) as temporary:
            tars = TarSet(temporary, max_rows, max_bytes, dataset.tars, target=folder)
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
def _folder_for_more(folder: Place) -> Iterator[Path]:
    """Yield a temporary folder for what comes to a dataset: beside it, or of this machine."""
    if isinstance(folder, Path):
        with temporary_folder(folder / ".append.tmp") as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory(prefix="lare-") as name, naming(Path(name)):
        yield Path(name)


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
        send(temporary / MANIFEST, folder / MANIFEST)


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


def _grown(dataset: Dataset, tars: TarSet) -> Dataset:
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


def _publish(temporary: Path, folder: Place, tars: list[str]) -> None:
    for name in [*tars, "index.parquet", "rejected.csv", "dataset.json"]:
        if (temporary / name).exists():
            publish(temporary / name, folder / name)


def _remove_unlisted_tars(dataset: Dataset) -> None:
    """Remove tars of an earlier run that was cut off after they had come into the folder, and that had more of them.

    Not in object storage, where another machine may be sending them.
    """
    if not isinstance(dataset.folder, Path):
        return
    listed = {entry.name for entry in dataset.tars}
    for path in dataset.folder.glob("*.tar"):
        try:
            parse_tar_name(path.name)
        except ValueError:
            continue
        if path.name not in listed:
            path.unlink()
