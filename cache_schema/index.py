"""The packed dataset: `dataset.json`, `index.parquet` and the tars, as one folder.

`index.parquet` has a row a sample and a row group a tar. It is the authority on labels; the json beside each image in
its tar is a copy from packing time. `dataset.json` lists the tars; `SHARD=n` is the position in that list. While
tars are being appended the index may have more row groups than `dataset.json` lists; what is not listed is not there.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import pyarrow as pa

from cache_schema.addresses import ObjectPath, Place, place
from cache_schema.copies import Original, find_copy, forget
from cache_schema.dataset_file import TarEntry, check_counts, check_kinds, check_once, parse_entry, parse_updated
from cache_schema.errors import DatasetError, FormatVersionError
from cache_schema.growing import Ahead, open_copy, open_growing
from cache_schema.index_footers import load_footer
from cache_schema.index_rows import PLACES, check_keys, check_rows, check_values
from cache_schema.object_clients import is_usable_here
from cache_schema.parquet import read_columns
from cache_schema.plain_files import load_json, open_plain
from cache_schema.shown import shown

DATASET_VERSION = 1
SCANNED_TARS, TEXT_TARS = 64, 16
"""Tars whose rows are in memory at once, where the whole index is gone through: of few bytes a row, and of texts."""

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
class Dataset:
    """An opened dataset folder. Opening reads dataset.json and the index's footer, nothing else."""

    folder: Place
    dataset_id: str
    """Hash of the rows of the first packing; it stays when tars are appended."""
    tars: tuple[TarEntry, ...]
    counts: Mapping[str, Mapping[str, int]]
    """Split → image source → number of samples."""
    settings: Mapping[str, Any]
    """How it was packed."""
    updated: tuple[str, ...] = ()
    """Fields of the index that were updated since, so that the json copies in the tars may have other values."""
    index: Original | None = field(default=None, compare=False, repr=False)
    """The index in object storage, as it was when the dataset was opened."""

    @classmethod
    def open(cls, folder: str | Place) -> "Dataset":
        """Open a folder that holds dataset.json.

        Raises:
            DatasetError: If it holds none, or index and list of tars disagree.
            FormatVersionError: If another version of the format wrote it.
        """
        folder = place(folder)
        path = folder / "dataset.json"
        try:
            content = load_json(path)
            version = content["format_version"]
        except FileNotFoundError as error:
            raise DatasetError(
                f"{folder} holds no dataset.json. Pack one first: make shards SRC=… OUT={folder}"
            ) from error
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise DatasetError(f"{path} cannot be read ({error}). Pack the dataset again.") from error
        if version != DATASET_VERSION:
            raise FormatVersionError(
                f"{path} has format version {shown(str(version))}, this code reads {DATASET_VERSION}."
            )
        try:
            check_kinds(content, {"dataset_id": str, "tars": list, "counts": dict, "settings": dict})
            tars = tuple(parse_entry(entry) for entry in content["tars"])
            check_once([tar.name for tar in tars])
            check_counts(content["counts"])
            updated = parse_updated(content.get("updated", []), INDEX_SCHEMA.names)
            dataset = cls(folder, content["dataset_id"], tars, content["counts"], content["settings"], updated)
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}). Pack the dataset again.") from error
        return replace(dataset, index=dataset._check_index())

    @property
    def index_path(self) -> Place:
        """Path of index.parquet."""
        return self.folder / "index.parquet"

    def _check_index(self) -> Original | None:
        """Compare the index's footer with the list of tars; the index, if it is an object."""
        try:
            with open_plain(self.index_path) as opened:
                rows = load_footer(opened, INDEX_SCHEMA).footer.groups.num_rows.tolist()
                index = Original.of(self.index_path, opened)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DatasetError(f"{self.index_path} cannot be read ({error}). Pack the dataset again.") from error
        expected = [tar.num_rows for tar in self.tars]
        if rows[: len(expected)] != expected:
            raise DatasetError(
                f"{self.index_path} has {sum(rows)} rows in {len(rows)} row groups, dataset.json lists {sum(expected)} "
                f"in {len(expected)} tars. The two are from different packings."
            )
        return index

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise DatasetError, with the differences, if it was packed with other settings."""
        here = json.loads(json.dumps(dict(settings)))
        there = self.settings
        changed = [n for n in sorted({*here, *there}) if here.get(n) != there.get(n)]
        if changed:
            raise DatasetError(
                f"{self.folder} was packed with other settings (dataset ≠ this run):\n  "
                + "\n  ".join(f"{name}: {there.get(name)} ≠ {here.get(name)}" for name in changed)
                + "\nAppend with its settings, or pack a new folder."
            )

    def tar_path(self, n: int) -> Place:
        """Path of tar n."""
        return self.folder / self.tars[n].name

    def tar_original(self, n: int) -> Original | None:
        """Tar n as what is copied to this machine; None if it lies here."""
        path, entry = self.tar_path(n), self.tars[n]
        return Original(path, entry.rows_sha256, entry.num_bytes) if isinstance(path, ObjectPath) else None

    def open_tar(self, n: int, *, whole: bool = False) -> BinaryIO:
        """Tar n, opened for reading; of one in object storage its copy on this machine.

        Args:
            n: Position of the tar.
            whole: Wait until the copy is whole, and give a file with a descriptor. Otherwise what is not there yet is
                waited for as it is read.

        Raises:
            NotPlain, OSError: As `open_plain`.
            StorageError: If object storage does not answer, or refuses.
        """
        original = self.tar_original(n)
        if original is None:
            return open_plain(self.tar_path(n))
        return open_copy(original) if whole else open_growing(original)

    def copy_ahead(self, tars: Sequence[int], num_ahead: int) -> Ahead:
        """What copies tars in object storage ahead of their reader, as a context; nothing for those of this machine.

        Args:
            tars: Positions in the order in which they are read.
            num_ahead: Tars that may be copied before the reader is there.
        """
        originals = [original for n in tars if (original := self.tar_original(n)) is not None]
        return Ahead(originals, num_ahead)

    def forget_tar(self, n: int) -> None:
        """Remove this machine's copy of a tar in object storage whose content is not what the index says."""
        if (original := self.tar_original(n)) is not None:
            forget(original)

    def _open_index(self, *, of_all: bool) -> BinaryIO:
        """The index. Of one in object storage a copy, unless a few ranges of it are all that is needed."""
        if self.index is None:
            return open_plain(self.index_path)
        if (file := find_copy(self.index)) is not None:
            return file
        return open_copy(self.index) if of_all or not is_usable_here() else open_plain(self.index_path)

    def rows(self, n: int) -> pa.Table:
        """Index rows of tar n, in row order, with the columns of `INDEX_SCHEMA`.

        Raises:
            DatasetError: If they cannot be read, or are not those that dataset.json lists.
        """
        return self.rows_of([n], INDEX_SCHEMA.names)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole index, tar by tar in the list's order.

        Args:
            columns: Names of those that are read; None: all of `INDEX_SCHEMA`.

        Raises:
            DatasetError: If it cannot be read, or its rows are not those that dataset.json lists.
        """
        return self.rows_of(range(len(self.tars)), INDEX_SCHEMA.names if columns is None else columns)

    def scan(self, columns: Sequence[str], num_tars: int = SCANNED_TARS) -> Iterator[tuple[int, pa.Table]]:
        """The whole index, some tars at a time, for what would take too much memory at once: texts as dictionaries.

        That each row says it is of its tar is not checked here, but by `rows` and `table`.

        Args:
            columns: Names of those that are read.
            num_tars: At a time.

        Yields:
            Number of the first tar, and the rows of some tars from it on.

        Raises:
            DatasetError: As `table`.
        """
        firsts = range(0, len(self.tars), num_tars)
        tars = {first: range(first, min(first + num_tars, len(self.tars))) for first in firsts}
        with ThreadPoolExecutor(1) as reader:  # reads on while the rows are made use of
            ahead = deque(reader.submit(self._scan, tars[first], columns) for first in firsts[:1])
            for first, following in zip(firsts, [*firsts[1:], None], strict=True):
                table = ahead.popleft().result()
                if following is not None:
                    ahead.append(reader.submit(self._scan, tars[following], columns))
                yield first, table

    def _scan(self, tars: Sequence[int], columns: Sequence[str]) -> pa.Table:
        try:
            with self._open_index(of_all=True) as opened:
                footer = load_footer(opened, INDEX_SCHEMA).footer
                table = read_columns(opened, footer, columns, tars, as_dictionaries=True)
            check_values(table, sum(self.tars[n].num_rows for n in tars))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DatasetError(f"{self.index_path} cannot be read ({error}). Pack the dataset again.") from error
        return table

    def rows_of(self, tars: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Index rows of some tars, tar by tar. Raises as `table`.

        Their places are read too, whatever is asked for: labels of another tar would be lies.
        """
        names = list(dict.fromkeys([*columns, *PLACES]))
        try:
            with self._open_index(of_all=len(tars) == len(self.tars)) as opened:
                known = load_footer(opened, INDEX_SCHEMA)
                table = read_columns(opened, known.footer, names, tars)
            schema = pa.schema([INDEX_SCHEMA.field(name) for name in names])
            table = table if table.schema.equals(schema) else table.cast(schema)
            check_rows(table, [(self.tars[n].name, self.tars[n].num_rows) for n in tars])
            if "key" in names and not known.is_distinct:
                check_keys(table["key"])
                known.is_distinct = len(tars) == len(self.tars)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DatasetError(f"{self.index_path} cannot be read ({error}). Pack the dataset again.") from error
        return table.select(list(columns))
