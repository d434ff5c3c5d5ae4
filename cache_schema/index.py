"""The packed dataset: `dataset.json`, `index.parquet` and the tars, as one folder.

`index.parquet` has a row a sample and a row group a tar. It is the authority on labels; the json beside each image in
its tar is a copy from packing time. `dataset.json` lists the tars; `SHARD=n` is the position in that list.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cache_schema.errors import DatasetError, FormatVersionError
from cache_schema.keys import SPLITS, parse_tar_name, tar_name
from cache_schema.store import sync_folder
from cache_schema.tars import Sample, TarWriter, rows_sha256

DATASET_VERSION = 1
MAX_ROWS = 4096
MAX_BYTES = 2**30

INDEX_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("tar", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("label", pa.int8()),
        pa.field("image_source", pa.string(), nullable=False),
        pa.field("subset", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("derived_from", pa.string()),
        pa.field("class_name", pa.string()),
        pa.field("source_path", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("jpeg_quality", pa.int16()),
    ]
)


@dataclass(frozen=True)
class TarEntry:
    """A tar as dataset.json lists it."""

    name: str
    num_rows: int
    num_bytes: int
    rows_sha256: str
    """Hash over key and image sha256 in row order."""


@dataclass(frozen=True)
class Dataset:
    """An opened dataset folder. Opening reads dataset.json and the index's footer, nothing else."""

    folder: Path
    dataset_id: str
    """Hash of the rows of the first packing; it stays when tars are appended."""
    tars: tuple[TarEntry, ...]
    counts: Mapping[str, Mapping[str, int]]
    """Split → image source → number of samples."""
    settings: Mapping[str, Any]
    """How it was packed."""

    @classmethod
    def open(cls, folder: str | Path) -> "Dataset":
        """Open a folder that holds dataset.json.

        Raises:
            DatasetError: If it holds none, or index and list of tars disagree.
            FormatVersionError: If another version of the format wrote it.
        """
        folder = Path(folder)
        path = folder / "dataset.json"
        try:
            content = json.loads(path.read_text())
            version = content["format_version"]
        except FileNotFoundError as error:
            raise DatasetError(
                f"{folder} holds no dataset.json. Pack one first: make shards SRC=… OUT={folder}"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}). Pack the dataset again.") from error
        if version != DATASET_VERSION:
            raise FormatVersionError(f"{path} has format version {version}, this code reads {DATASET_VERSION}.")
        try:
            tars = tuple(TarEntry(**entry) for entry in content["tars"])
            for tar in tars:
                parse_tar_name(tar.name)
            dataset = cls(folder, content["dataset_id"], tars, content["counts"], content["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}). Pack the dataset again.") from error
        dataset._check_index()
        return dataset

    @property
    def index_path(self) -> Path:
        """Path of index.parquet."""
        return self.folder / "index.parquet"

    def _check_index(self) -> None:
        try:
            metadata = pq.read_metadata(self.index_path)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{self.index_path} cannot be read ({error}). Pack the dataset again.") from error
        rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        expected = [tar.num_rows for tar in self.tars]
        if rows != expected:
            raise DatasetError(
                f"{self.index_path} has {sum(rows)} rows in {len(rows)} row groups, dataset.json lists {sum(expected)} "
                f"in {len(expected)} tars. The two are from different packings."
            )

    def tar_path(self, n: int) -> Path:
        """Path of tar n."""
        return self.folder / self.tars[n].name

    def rows(self, n: int) -> pa.Table:
        """Index rows of tar n, in row order, with the columns of `INDEX_SCHEMA`."""
        return self._read(lambda file: file.read_row_group(n))

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole index, tar by tar in the list's order."""
        return self._read(lambda file: file.read(columns=None if columns is None else list(columns)))

    def _read(self, read: Any) -> pa.Table:
        try:
            with pq.ParquetFile(self.index_path, page_checksum_verification=True) as file:
                return read(file)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{self.index_path} cannot be read ({error}). Pack the dataset again.") from error


@dataclass
class _OpenTar:
    name: str
    writer: TarWriter
    rows: list[dict[str, Any]] = field(default_factory=list)


def write_dataset(
    folder: str | Path,
    samples: Iterable[Sample],
    settings: Mapping[str, Any],
    *,
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
) -> Dataset:
    """Write samples to tars and an index, in the order given: the whole folder or nothing.

    The caller shuffles: real and generated must be mixed within a tar. Everything is written to a folder beside the
    target and renamed at the end.

    Args:
        folder: New folder; must not exist.
        samples: Samples of any split, in any order.
        settings: How they were made; kept in dataset.json.
        max_rows: A tar is closed at this many samples,
        max_bytes: or when it has reached this size, whichever comes first.

    Raises:
        DatasetError: If the folder exists.
        ValueError: If there are no samples, or a key comes twice.
    """
    folder = Path(folder)
    if folder.exists():
        raise DatasetError(f"{folder} exists. Choose another folder, or remove this one yourself.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        _write_folder(temporary, samples, settings, max_rows, max_bytes)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(folder.parent)
    return Dataset.open(folder)


def _write_folder(
    folder: Path, samples: Iterable[Sample], settings: Mapping[str, Any], max_rows: int, max_bytes: int
) -> None:
    opened: dict[str, _OpenTar] = {}
    closed: list[tuple[TarEntry, pa.Table]] = []
    numbers: Counter[str] = Counter()
    keys: set[str] = set()

    def close(split: str) -> None:
        tar = opened.pop(split)
        tar.writer.close()
        table = pa.Table.from_pylist(tar.rows, schema=INDEX_SCHEMA)
        digest = rows_sha256((r["key"] for r in tar.rows), (bytes.fromhex(r["sha256"]) for r in tar.rows))
        closed.append((TarEntry(tar.name, len(tar.rows), tar.writer.num_bytes, digest), table))

    try:
        for sample in samples:
            if sample.key in keys:
                raise ValueError(f"key {sample.key!r} comes twice")
            keys.add(sample.key)
            split = sample.fields.split
            if split not in opened:
                name = tar_name(split, numbers[split])
                numbers[split] += 1
                opened[split] = _OpenTar(name, TarWriter(folder / name))
            tar = opened[split]
            offset = tar.writer.add(sample)
            place = {"key": sample.key, "tar": tar.name, "row": len(tar.rows), "offset": offset}
            tar.rows.append({**place, "size": len(sample.image), **asdict(sample.fields)})
            if len(tar.rows) >= max_rows or tar.writer.num_bytes >= max_bytes:
                close(split)
        for split in list(opened):
            close(split)
    finally:
        for tar in opened.values():  # only after an error
            tar.writer.close()
    if not closed:
        raise ValueError("no samples to write")
    closed.sort(key=lambda pair: (SPLITS.index(parse_tar_name(pair[0].name)[0]), pair[0].name))
    _write_index(folder, closed, settings)


def _write_index(folder: Path, tars: list[tuple[TarEntry, pa.Table]], settings: Mapping[str, Any]) -> None:
    with pq.ParquetWriter(
        folder / "index.parquet", INDEX_SCHEMA, compression="zstd", write_page_checksum=True
    ) as writer:
        for entry, table in tars:
            writer.write_table(table, row_group_size=entry.num_rows)
    counts: dict[str, Counter[str]] = {}
    for entry, table in tars:
        split = parse_tar_name(entry.name)[0]
        counts.setdefault(split, Counter()).update(table["image_source"].to_pylist())
    content = {
        "format_version": DATASET_VERSION,
        "dataset_id": hashlib.sha256("".join(entry.rows_sha256 for entry, _ in tars).encode()).hexdigest(),
        "tars": [asdict(entry) for entry, _ in tars],
        "counts": {split: dict(sorted(c.items())) for split, c in counts.items()},
        "settings": dict(settings),
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    sync_folder(folder)
