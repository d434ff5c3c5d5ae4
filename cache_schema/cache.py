"""A folder of stores under one fingerprint: opening, listing, reading, writing, joining."""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from functools import cached_property
from typing import Any

from cache_schema.addresses import ObjectPath, Place, place
from cache_schema.attributes import FORMAT_VERSION
from cache_schema.copies import Original, forget
from cache_schema.dataset_file import TarEntry
from cache_schema.errors import CacheError, DatasetError, FingerprintMismatch, FormatVersionError, ShardCorrupt
from cache_schema.files import ABANDONED_SEC, write_text
from cache_schema.fingerprint import AVIF_RULE, CANVAS_METHOD, Fingerprint
from cache_schema.growing import temporary_link
from cache_schema.index import Dataset
from cache_schema.keys import STORE_SUFFIX, is_store_name, store_name
from cache_schema.listing import list_files, list_names
from cache_schema.object_clients import is_usable_here
from cache_schema.plain_files import load_json
from cache_schema.shown import shown
from cache_schema.store import (
    FULL_MANTISSA_BITS,
    ShardData,
    read_attributes,
    read_store,
    round_mantissa,
    write_store,
)

logger = logging.getLogger(__name__)

MANIFEST = "cache.json"
MAX_MANIFEST_BYTES = 2**20
MAX_IMAGE_SIZE = 2**16
"""Side of a canvas, in px."""


@dataclass(frozen=True)
class Cache:
    """An opened cache folder: the features of one dataset under one set of settings."""

    folder: Place
    dataset_id: str
    fields: Mapping[str, int | str]
    """The settings that made it (`cache_schema.fingerprint.FIELDS`)."""
    stores: Mapping[str, Original] | None = field(default=None, compare=False, repr=False)
    """Its stores in object storage as they were listed once, of which copies are read; None: the folder is asked."""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the settings, 64 hexadecimal digits."""
        return Fingerprint(self.fields).hexdigest

    def path(self, name: str) -> Place:
        """Path of a store.

        Raises:
            ValueError: If the name is no store name; so it can never point outside the folder.
        """
        if name != store_name(name.removesuffix(STORE_SUFFIX) + ".tar"):
            raise ValueError(f"{name!r} is no store name: expected <split>-<six digits>{STORE_SUFFIX}")
        return self.folder / name

    def with_copies(self) -> "Cache":
        """The same, whose stores in object storage are listed now and read as copies on this machine from now on."""
        folder = self.folder
        if not isinstance(folder, ObjectPath):
            return self
        listed = [each for each in list_files(folder) if is_store_name(each.name)]
        stores = {each.name: Original(folder / each.name, each.version, each.num_bytes) for each in listed}
        return with_changes(self, stores=stores)

    def shards(self) -> list[str]:
        """Names of the stores that were published, sorted; copies that other programs made lie beside them unread."""
        if self.stores is not None:
            return sorted(self.stores)
        try:
            return [name for name in list_names(self.folder) if is_store_name(name)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def stores_of(self, tars: Iterable[TarEntry]) -> list[str]:
        """Names of the stores that were published of some tars, sorted."""
        return sorted({store_name(entry.name) for entry in tars} & set(self.shards()))

    def has(self, name: str) -> bool:
        """Whether a store was published: done means this and nothing else."""
        return self.path(name).exists() if self.stores is None else name in self.stores

    def attributes(self, name: str) -> dict[str, Any]:
        """Attributes of a store without its arrays, checked for the fingerprint.

        Raises:
            ShardMissing, ShardCorrupt, FormatVersionError, FingerprintMismatch: As `read`.
        """
        with self.source(name, whole=False) as path:
            attributes = read_attributes(path)
        self.check_fingerprint(name, attributes)
        return attributes

    def read(self, name: str, num_rows: int | None = None) -> ShardData:
        """Read a whole store.

        Args:
            name: The store.
            num_rows: Of its tar, if that is known: a store of other rows is refused before it is decoded.

        Raises:
            ShardMissing: If it was never written.
            ShardCorrupt: If it is damaged.
            ShardStale: If it has another number of rows.
            FormatVersionError: If another version of the format wrote it.
            FingerprintMismatch: If its features were made with other settings than the folder's.
        """
        self.check_maps()
        with self.source(name, whole=True) as path:
            shard = read_store(path, num_rows)
        self.check_fingerprint(name, shard.attributes)
        return shard

    @property
    def has_canvases(self) -> bool:
        """Whether its stores hold canvases instead of maps."""
        return self.fields.get("method") == CANVAS_METHOD

    def check_maps(self) -> None:
        """Raise CacheError if its stores hold canvases instead of maps."""
        if self.has_canvases:
            raise CacheError(
                f"{self.folder} holds canvases, not maps: name the cache of maps here. Training takes canvases by "
                "--data.canvases."
            )

    @contextmanager
    def source(self, name: str, *, whole: bool) -> Iterator[Place]:
        """Where a store is read from: its copy on this machine, where copies are kept. Errors name the store itself.

        Args:
            name: The store.
            whole: Whether all of it is read.
        """
        path, original = self.path(name), (self.stores or {}).get(name)
        if original is None or not (whole or original.copy.exists() or not is_usable_here()):
            yield path
            return
        with temporary_link(original) as copy:
            try:
                yield copy
            except CacheError as error:
                if isinstance(error, ShardCorrupt):
                    forget(original)  # the next reading asks for it anew
                raise type(error)(str(error).replace(str(copy), str(path))) from error

    def check_fingerprint(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Raise FingerprintMismatch if a store's attributes name other settings than the folder's."""
        if attributes.get("fingerprint") != self.fingerprint:
            raise FingerprintMismatch(
                f"{self.path(name)} was made with settings {attributes.get('fingerprint')}, the folder holds "
                f"{self.fingerprint}. Extract this tar again with --overwrite stale."
            )

    def write(self, name: str, shard: ShardData, *, replace: bool = True) -> Place:
        """Round the maps as the settings say and publish the store by one rename, or one request.

        Args:
            name: Store name.
            shard: Maps in float32.
            replace: Take the place of a store that is there; otherwise it is refused.

        Raises:
            FileExistsError: If a store is there and `replace` is off.
            ValueError: If the rows contradict each other, or a map does not fit the stored dtype.
            FingerprintMismatch: If another run has given the folder other settings meanwhile.
        """
        dtype = str(self.fields["stored_dtype"])
        bits = int(self.fields.get("mantissa_bits", FULL_MANTISSA_BITS[dtype]))
        path = self.path(name)
        self.check_unchanged()
        rounded = with_changes(shard, lare=round_mantissa(shard.lare, dtype, bits))
        write_store(path, rounded, self.fingerprint, replace=replace)
        return path

    def check_unchanged(self) -> None:
        """Raise FingerprintMismatch if another run has given the folder other settings since it was opened."""
        if open_cache(self.folder).fingerprint != self.fingerprint:
            raise FingerprintMismatch(
                f"{self.folder} has taken other settings while it was empty. Extract into another folder: --cache."
            )


def formats_identity(dataset: Dataset) -> dict[str, str]:
    """Fingerprint fields of the formats that a dataset holds and that older versions did not read."""
    has_avif = any("AVIF" in table["format"].unique().to_pylist() for _, table in dataset.scan(["format"]))
    return {"formats": AVIF_RULE} if has_avif else {}


def create_cache(folder: str | Place, dataset_id: str, fingerprint: Fingerprint, *, in_use: bool = False) -> Cache:
    """Open a cache folder for writing, or make it if it is not there. Any number of jobs may do so at once.

    A folder without a store, which a refused or failed run has left, takes the new settings, with a warning.

    Args:
        folder: For example cache/genimage/sd15-t200-e4.
        dataset_id: Of the dataset whose tars will be extracted.
        fingerprint: Settings of this run.
        in_use: Whether other tasks are known to fill the folder just now: then it keeps its settings.

    Raises:
        FingerprintMismatch: If the folder holds features made with other settings; the differences are named.
        DatasetError: If the folder belongs to another dataset.
    """
    folder = place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "format_version": FORMAT_VERSION,
        "dataset_id": dataset_id,
        "fingerprint": fingerprint.hexdigest,
        "fields": dict(fingerprint.fields),
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    with suppress(FileExistsError):  # the first job wins, all read the same
        write_text(folder / MANIFEST, text, replace=False)
    cache = open_cache(folder)
    difference = Fingerprint(cache.fields).difference(fingerprint)
    if (difference or cache.dataset_id != dataset_id) and not in_use and _is_empty(cache):
        changes = difference or [f"dataset: {cache.dataset_id} ≠ {dataset_id}"]
        logger.warning(
            "%s holds no store yet: it takes the new settings (before ≠ now: %s). Tasks of another launch that still "
            "wait will be refused.",
            folder,
            "; ".join(changes),
        )
        write_text(folder / MANIFEST, text)
        cache = open_cache(folder)  # another run may have done the same
        difference = Fingerprint(cache.fields).difference(fingerprint)
    if difference:
        has_avif = any(line.startswith("formats: (absent)") for line in difference)
        raise FingerprintMismatch(
            f"{folder} holds features made with other settings (cache ≠ this run):\n  "
            + "\n  ".join(difference)
            + ("\nThe dataset holds AVIF pictures, which this cache's version did not read." if has_avif else "")
            + "\nFeatures made with other settings live in another folder: pass --cache <new folder>."
        )
    check_dataset(cache, dataset_id)
    return cache


def _is_empty(cache: Cache) -> bool:
    """Whether a folder has no store, and nobody writes one."""
    if isinstance(cache.folder, ObjectPath):  # where nothing tells of one that is being written
        return not cache.shards()
    young = time.time() - ABANDONED_SEC
    writing = cache.folder.glob(f".*{STORE_SUFFIX}.*.tmp")
    return not cache.shards() and not any(path.lstat().st_mtime > young for path in writing)


def check_dataset(cache: Cache, dataset_id: str) -> None:
    """Raise DatasetError if the cache belongs to another dataset."""
    if cache.dataset_id != dataset_id:
        raise DatasetError(
            f"{cache.folder} belongs to dataset {cache.dataset_id}, this one is {dataset_id}. "
            "Name the dataset's own cache folder, or a new one."
        )


def open_cache(folder: str | Place) -> Cache:
    """Open an existing cache folder.

    Raises:
        CacheError: If there is no readable cache.json, or its fields do not give its fingerprint.
        FormatVersionError: If another version of the format wrote it.
    """
    folder = place(folder)
    path = folder / MANIFEST
    try:
        content = load_json(path, MAX_MANIFEST_BYTES)
        version = content["format_version"]
        if not isinstance(content["fields"], dict) or not isinstance(content["dataset_id"], str):
            raise ValueError("expected fields by their names, and dataset_id as text")
        _check_fields(content["fields"])
        cache = Cache(folder, content["dataset_id"], content["fields"])
        stored, computed = content["fingerprint"], cache.fingerprint
    except FileNotFoundError as error:
        raise CacheError(f"{folder} is no cache: it holds no {MANIFEST}. Run the extraction first.") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise CacheError(f"{path} cannot be read ({error}).") from error
    if version != FORMAT_VERSION:
        raise FormatVersionError(f"{path} has format version {shown(str(version))}, this code reads {FORMAT_VERSION}.")
    if stored != computed:
        raise FingerprintMismatch(f"{path} was edited: its fields hash to {computed}, it says {stored}.")
    return cache


def _check_fields(fields: Mapping[str, Any]) -> None:
    """Raise ValueError where a field that readers compute with is out of range; not every cache has each."""
    dtype = fields.get("stored_dtype", "float32")
    if dtype not in FULL_MANTISSA_BITS:
        raise ValueError(f"stored_dtype is {shown(str(dtype))}: expected one of {', '.join(FULL_MANTISSA_BITS)}")
    for name, most in (("mantissa_bits", FULL_MANTISSA_BITS[dtype]), ("image_size", MAX_IMAGE_SIZE)):
        value = fields.get(name, 1)
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"{name} is {shown(str(value))}: expected 1 to {most}")
