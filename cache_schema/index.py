"""The packed dataset: `dataset.json`, `index.parquet` and the tars, as one folder.

`index.parquet` has a row a sample and a row group a tar. It is the authority on labels; the json beside each image in
its tar is a copy from packing time. `dataset.json` lists the tars; `SHARD=n` is the position in that list. While
tars are being appended the index may have more row groups than `dataset.json` lists; what is not listed is not there.
"""

import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from cache_schema.addresses import Place, place
from cache_schema.errors import DatasetError, FormatVersionError
from cache_schema.index_rows import PLACES, check_keys, check_rows, check_values
from cache_schema.keys import parse_tar_name
from cache_schema.parquet import Footer, check_schema, parse_footer, read_columns
from cache_schema.plain_files import identity, load_json, open_plain
from cache_schema.shown import shown

DATASET_VERSION = 1
SCANNED_TARS = 64
"""Tars whose rows are in memory at once, where the whole index is gone through."""
MAX_FOOTERS = 8
"""Parsed footers that are kept."""
_HASH = re.compile("[0-9a-f]{64}")

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
            _check_kinds(content, {"dataset_id": str, "tars": list, "counts": dict, "settings": dict})
            tars = tuple(_parse_entry(entry) for entry in content["tars"])
            _check_once([tar.name for tar in tars])
            _check_counts(content["counts"])
            updated = _parse_updated(content.get("updated", []))
            dataset = cls(folder, content["dataset_id"], tars, content["counts"], content["settings"], updated)
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}). Pack the dataset again.") from error
        dataset._check_index()
        return dataset

    @property
    def index_path(self) -> Place:
        """Path of index.parquet."""
        return self.folder / "index.parquet"

    def _check_index(self) -> None:
        try:
            with open_plain(self.index_path) as opened:
                rows = _load_footer(opened).footer.groups.num_rows.tolist()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DatasetError(f"{self.index_path} cannot be read ({error}). Pack the dataset again.") from error
        expected = [tar.num_rows for tar in self.tars]
        if rows[: len(expected)] != expected:
            raise DatasetError(
                f"{self.index_path} has {sum(rows)} rows in {len(rows)} row groups, dataset.json lists {sum(expected)} "
                f"in {len(expected)} tars. The two are from different packings."
            )

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

    def rows(self, n: int) -> pa.Table:
        """Index rows of tar n, in row order, with the columns of `INDEX_SCHEMA`.

        Raises:
            DatasetError: If they cannot be read, or are not those that dataset.json lists.
        """
        return self._read([n], INDEX_SCHEMA.names)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole index, tar by tar in the list's order.

        Args:
            columns: Names of those that are read; None: all of `INDEX_SCHEMA`.

        Raises:
            DatasetError: If it cannot be read, or its rows are not those that dataset.json lists.
        """
        return self._read(range(len(self.tars)), INDEX_SCHEMA.names if columns is None else columns)

    def scan(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """The whole index, some tars at a time, for what would take too much memory at once: texts as dictionaries.

        That each row says it is of its tar is not checked here, but by `rows` and `table`.

        Args:
            columns: Names of those that are read.

        Yields:
            Number of the first tar, and the rows of some tars from it on.

        Raises:
            DatasetError: As `table`.
        """
        firsts = range(0, len(self.tars), SCANNED_TARS)
        with ThreadPoolExecutor(1) as reader:  # reads on while the rows are made use of
            ahead = deque(reader.submit(self._scan, first, columns) for first in firsts[:1])
            for first, following in zip(firsts, [*firsts[1:], None], strict=True):
                table = ahead.popleft().result()
                if following is not None:
                    ahead.append(reader.submit(self._scan, following, columns))
                yield first, table

    def _scan(self, first: int, columns: Sequence[str]) -> pa.Table:
        tars = range(first, min(first + SCANNED_TARS, len(self.tars)))
        try:
            with open_plain(self.index_path) as opened:
                table = read_columns(opened, _load_footer(opened).footer, columns, tars, as_dictionaries=True)
            check_values(table, sum(self.tars[n].num_rows for n in tars))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DatasetError(f"{self.index_path} cannot be read ({error}). Pack the dataset again.") from error
        return table

    def _read(self, tars: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Rows of some tars. Their places are read too, whatever is asked for: labels of another tar would be lies."""
        names = list(dict.fromkeys([*columns, *PLACES]))
        try:
            with open_plain(self.index_path) as opened:
                known = _load_footer(opened)
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


def _parse_entry(content: Mapping[str, Any]) -> TarEntry:
    entry = TarEntry(**content)
    _check_kinds(content, {"name": str, "num_rows": int, "num_bytes": int, "rows_sha256": str})
    parse_tar_name(entry.name)
    if entry.num_rows < 0 or entry.num_bytes < 0 or not _HASH.fullmatch(entry.rows_sha256):
        raise ValueError(f"{entry.name} has {entry.num_rows} rows, {entry.num_bytes} bytes, hash {entry.rows_sha256!r}")
    return entry


def _check_once(names: Sequence[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{twice[0]} is listed twice: its samples would count twice")


def _check_counts(counts: Mapping[str, Any]) -> None:
    for sources in counts.values():
        if not isinstance(sources, dict) or not all(type(count) is int for count in sources.values()):
            raise ValueError("counts are not numbers of samples by split and image source")


def _parse_updated(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(name in INDEX_SCHEMA.names for name in names):
        raise ValueError(f"updated is {str(names)[:100]!r}: expected names of fields")
    return tuple(names)


def _check_kinds(content: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        if type(content[name]) is not kind:
            raise ValueError(f"{name} is {str(content[name])[:100]!r}: expected {kind.__name__}")


@dataclass
class _Known:
    footer: Footer
    is_distinct: bool = False
    """Whether all keys of its dataset were compared, and none stands in two rows."""


_footers: dict[tuple[str | int, ...], _Known] = {}


def _load_footer(opened: BinaryIO) -> _Known:
    """An index's footer, parsed once a file: with thousands of row groups that takes longer than reading one."""
    name = identity(opened)
    if name not in _footers:
        footer = parse_footer(opened)
        check_schema(footer.schema, INDEX_SCHEMA)
        if len(_footers) == MAX_FOOTERS:
            _footers.clear()
        _footers[name] = _Known(footer)
    return _footers[name]
