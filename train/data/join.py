"""A dataset and its caches, joined tar by tar: what fits, which rows can be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from cache_schema import (
    RULES,
    Cache,
    CacheError,
    CanvasStore,
    Dataset,
    FingerprintMismatch,
    ObjectPath,
    Original,
    Place,
    ShardMissing,
    ShardStale,
    Status,
    TarEntry,
    check_canvases,
    check_dataset,
    check_join,
    is_ok,
    open_cache,
    open_canvases,
    stack_maps,
    stacked_shape,
    store_name,
)
from train.data.joined_tar import JoinedTar

CANVAS_FIELDS = ("image_size", *RULES)
"""The fingerprint fields that say what the canvas under a map is."""


@dataclass(frozen=True)
class Join:
    """A dataset with one or more variants of its features. Holds no open files, so that workers can be sent one."""

    dataset: Dataset
    caches: tuple[Cache, ...]
    canvases: Cache | None = None
    """Canvases that are read in place of the images."""

    @classmethod
    def open(cls, data: str | Place, caches: Sequence[str | Place], canvases: str | Place | None = None) -> "Join":
        """Open a dataset and the caches that belong to it.

        Args:
            data: Folder with dataset.json.
            caches: Cache folders, one a variant.
            canvases: Cache folder of canvases, which lie under the caches' maps.

        Raises:
            DatasetError: If a cache belongs to another dataset.
            FingerprintMismatch: If a cache's canvas differs from this code's, or from the other caches'.
            CacheError: If one of the folders cannot be read.
            ValueError: If no cache is named.
        """
        if not caches:
            raise ValueError("cache names no folder: expected at least one")
        dataset = Dataset.open(data)
        opened = tuple(open_cache(folder).with_copies() for folder in caches)
        for cache in opened:
            cache.check_maps()
            check_dataset(cache, dataset.dataset_id)
            _check_canvas(cache, opened[0])
        if canvases is None:
            return cls(dataset, opened)
        stored = open_cache(canvases).with_copies()
        check_canvases(stored)
        check_dataset(stored, dataset.dataset_id)
        known = {**stored.fields, **{name: value for name, value in opened[0].fields.items() if name in CANVAS_FIELDS}}
        _check_canvas(stored, replace(opened[0], fields=known))  # an old cache does not name every rule
        return cls(dataset, opened, stored)

    @property
    def fields(self) -> Mapping[str, int | str]:
        """Settings behind the first variant."""
        return self.caches[0].fields

    @property
    def canvas_px(self) -> int:
        """Side of the canvas that was encoded, which the maps lie over."""
        return int(self.fields["image_size"])

    def load_map_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a sample's maps, from the first store of each variant.

        Raises:
            ShardMissing: If a cache has no stores.
            CacheError: If the variants' maps have no grid in common.
        """
        shapes = []
        for cache in self.caches:
            names = cache.stores_of(self.dataset.tars)
            if not names:
                raise ShardMissing(f"{cache.folder} has no stores. Extract first: {self.command('all', cache)}")
            _, channels, height, width = cache.read(names[0]).lare.shape
            shapes.append((channels, height, width))
        try:
            return stacked_shape(shapes)
        except ValueError as error:
            folders = ", ".join(str(cache.folder) for cache in self.caches)
            raise CacheError(f"{folders}: {error}. Name other caches.") from error

    def command(self, shard: str, cache: Cache) -> str:
        """The command that extracts some tars into a cache, or makes their canvases."""
        if cache.has_canvases:
            size = f"ARGS='--image_size {cache.fields.get('image_size')}'"
            return f"make canvases DATA={self.dataset.folder} CACHE={cache.folder} SHARD={shard} {size}"
        return f"make extract DATA={self.dataset.folder} CACHE={cache.folder} SHARD={shard}"

    def check_present(self, tars: Sequence[int]) -> None:
        """Raise ShardMissing, with the command to run, if one of these tars has no store in one of the caches."""
        for cache in (*self.caches, *([] if self.canvases is None else [self.canvases])):
            missing = [n for n in tars if not cache.has(store_name(self.dataset.tars[n].name))]
            if missing:
                shard = ",".join(map(str, missing)) if len(missing) <= 8 else "all"
                raise ShardMissing(
                    f"{cache.folder} has no store for {len(missing)} of the {len(tars)} tars that are needed, "
                    f"the first is {self.dataset.tars[missing[0]].name}. Extract first: {self.command(shard, cache)}"
                )

    def load_usable(self, n: int, *, thorough: bool) -> np.ndarray:
        """Which rows of a tar have a map in every variant.

        Args:
            n: Number of the tar.
            thorough: Read and join the whole store now. Otherwise only its attributes are read, which name the
                rejected rows; the rest is checked when the tar is opened.

        Returns:
            (rows of the tar,), bool.

        Raises:
            CacheError: If a store is missing, damaged, or not of this tar.
        """
        entry = self.dataset.tars[n]
        usable = np.ones(entry.num_rows, dtype=bool)
        for cache in self.caches:
            name = store_name(entry.name)
            try:
                attributes = cache.attributes(name)
            except ShardMissing:
                self.check_present([n])  # which says how to make it
                raise
            if attributes.get("rows_sha256") != entry.rows_sha256:
                raise ShardStale(
                    f"{cache.folder}: {entry.name} has changed since its features were made (its rows hash to "
                    f"{entry.rows_sha256}, the store says {attributes.get('rows_sha256')}). "
                    f"Extract it again: {self.command(str(n), cache)} ARGS='--overwrite stale'"
                )
            rejected = [int(row) for row in attributes.get("reasons", {})]
            counts = attributes["counts"].items()
            num_rejected = sum(count for status, count in counts if not is_ok(Status[status.upper()]))
            usable[rejected] = False
            if thorough or len(rejected) != num_rejected:  # a writer that names no reasons
                shard = cache.read(name)
                check_join(shard, self.dataset.rows(n), entry)
                usable &= is_ok(shard.status)
        return usable

    def load_tar(self, n: int, *, maps: bool, images: bool = True) -> JoinedTar:
        """Open a tar with its maps and, if there are any, its canvases, joined by key and hash, row by row.

        Args:
            n: Number of the tar.
            maps: Whether to read the maps.
            images: Whether images will be read.

        Raises:
            ShardMissing, ShardCorrupt, FormatVersionError, FingerprintMismatch: If a store cannot be used; a map that
                is not finite though its row is marked ok makes it corrupt.
            ShardStale: If a store has other rows than the tar.
        """
        rows, entry = self.dataset.rows(n), self.dataset.tars[n]
        variants = []
        for cache in self.caches if maps else ():
            shard = cache.read(store_name(entry.name))
            check_join(shard, rows, entry)
            variants.append(shard.lare)
        return JoinedTar(
            path=self.dataset.tar_path(n),
            keys=rows["key"].to_pylist(),
            offsets=rows["offset"].to_numpy(),
            sizes=rows["size"].to_numpy(),
            sha256=rows["sha256"].to_pylist(),
            lare=stack_maps(variants) if variants else None,
            canvases=self._open_canvases(rows, entry) if images and self.canvases is not None else None,
            dataset=self.dataset,
            number=n,
        )

    @property
    def is_remote(self) -> bool:
        """Whether dataset or caches lie in object storage."""
        caches = (*self.caches, *([] if self.canvases is None else [self.canvases]))
        folders = (self.dataset.folder, *(cache.folder for cache in caches))
        return any(isinstance(folder, ObjectPath) for folder in folders)

    def originals(self, n: int, *, maps: bool, images: bool) -> list[Original]:
        """What of a tar, with its stores, is copied from object storage before it can be read.

        Canvases stand for images: a tar of which single pictures are read all the same is copied when it comes to it.
        """
        name = store_name(self.dataset.tars[n].name)
        caches = [*(self.caches if maps else ()), *([self.canvases] if images and self.canvases is not None else ())]
        stores = [(cache.stores or {}).get(name) for cache in caches]
        tar = self.dataset.tar_original(n) if images and self.canvases is None else None
        return [original for original in (*stores, tar) if original is not None]

    def _open_canvases(self, rows: pa.Table, entry: TarEntry) -> CanvasStore:
        assert self.canvases is not None
        store = open_canvases(self.canvases, store_name(entry.name), entry.num_rows)
        try:
            check_join(store, rows, entry)
        except BaseException:
            store.close()
            raise
        return store


def _check_canvas(cache: Cache, first: Cache) -> None:
    if "image_size" not in cache.fields:
        raise FingerprintMismatch(f"{cache.folder} does not say its image_size: the canvas under its maps is unknown.")
    for name in CANVAS_FIELDS:
        found, expected = cache.fields.get(name), first.fields.get(name)
        if found != expected:
            raise FingerprintMismatch(
                f"{cache.folder}: {name} is {found}, {first.folder} has {expected}. Maps and canvases that are used "
                "together must be of one canvas."
            )
        rule = RULES.get(name, found)
        if found is not None and found != rule:
            raise FingerprintMismatch(
                f"{cache.folder}: {name} is {found}, this code makes the canvas with {rule}. "
                "Extract the features again with this version."
            )
