"""Canvases in place of maps: the uint8 squares that stage 1 encoded, one store a tar, each read by itself.

A store of canvases has the arrays of a store of maps, but `canvas`, (rows, S, S, 3), in place of `lare`. It is a Zarr
v3 group that others read with zarr alone. Our reader asks the file for one chunk at its offset in the zip: through
zarr's indexing a row takes longer than its decoding. `bench --measures canvas_codecs` measures the codecs.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from cache_schema.addresses import Place
from cache_schema.archive import Archive
from cache_schema.attributes import MAX_ATTRIBUTES_BYTES, complete_attributes, parse_attributes
from cache_schema.cache import Cache, formats_identity
from cache_schema.chunks import CRC_BYTES, decode_chunk, most_bytes, read_array
from cache_schema.copies import Original, forget
from cache_schema.errors import CacheError, ShardCorrupt, ShardStale
from cache_schema.files import new_opened
from cache_schema.fingerprint import CANVAS_METHOD, Fingerprint
from cache_schema.images import RULES
from cache_schema.index import Dataset
from cache_schema.layout import CANVASES, CHUNK_BYTES, FORMS, read_layouts
from cache_schema.store import telling_damage, write_rows

LEVEL = 1
"""Of Zstandard, behind a shuffle of bits: smaller and faster to read than without, and lz4 stays above 0.8 of raw."""


def canvas_fingerprint(image_size: int, dataset: Dataset) -> Fingerprint:
    """What identifies canvases: their side and the rules that make them.

    Args:
        image_size: Side in px.
        dataset: The images, whose formats may have a rule of their own.
    """
    return Fingerprint({"method": CANVAS_METHOD, "image_size": image_size, **RULES, **formats_identity(dataset)})


def encode_canvas(canvas: NDArray[np.uint8]) -> bytes:
    """A canvas, (S, S, 3), as the chunk that a store has of it, without loss."""
    codec = Blosc(cname="zstd", clevel=LEVEL, shuffle=Blosc.BITSHUFFLE, blocksize=CHUNK_BYTES)
    data: bytes = codec.encode(np.ascontiguousarray(canvas))
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(CRC_BYTES, "little")


class CanvasWriter:
    """Takes the chunks of a tar in row order, so that no more than a batch of them is in memory.

    Args:
        file: New file.
        image_size: Side of a canvas in px.
        fingerprint: Hash of the cache's settings.
    """

    def __init__(self, file: BinaryIO, image_size: int, fingerprint: str) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._size, self._fingerprint = image_size, fingerprint
        self._rejected = encode_canvas(np.zeros((image_size, image_size, 3), np.uint8))
        self._num_rows, self._is_finished = 0, False

    def add(self, chunks: Sequence[bytes]) -> None:
        """Append rows: each what `encode_canvas` gave, or nothing where the image is rejected.

        Raises:
            OSError: If the disk is full.
        """
        for chunk in chunks:
            self._write(f"{CANVASES}/c/{self._num_rows}/0/0/0", chunk or self._rejected)
            self._num_rows += 1

    def finish(
        self, keys: Sequence[str], status: np.ndarray, image_sha256: np.ndarray, attributes: Mapping[str, Any]
    ) -> None:
        """Say which sample each row is, and what became of it; arguments as of `ShardData`.

        Raises:
            ValueError: If there are not as many rows as canvases.
            OSError: If the disk is full.
        """
        if {len(keys), len(status), len(image_sha256)} != {self._num_rows}:
            raise ValueError(
                f"{self._num_rows} canvases, {len(keys)} keys, status {status.shape}, image_sha256 {image_sha256.shape}"
            )
        members: dict[str, Any] = {}
        group = zarr.create_group(
            MemoryStore(members), attributes=complete_attributes(attributes, status, self._fingerprint)
        )
        shuffled = BloscCodec(cname="zstd", clevel=LEVEL, shuffle="bitshuffle", typesize=1, blocksize=CHUNK_BYTES)
        canvas = (self._size, self._size, 3)
        group.create_array(
            CANVASES,
            shape=(self._num_rows, *canvas),
            dtype=np.uint8,
            chunks=(1, *canvas),
            compressors=[shuffled, Crc32cCodec()],
            fill_value=0,
            dimension_names=FORMS[CANVASES].dimensions,
        )
        write_rows(group, keys, status, image_sha256)
        group_metadata = members.pop("zarr.json")
        for name, buffer in members.items():
            self._write(name, buffer.to_bytes())
        self._write("zarr.json", group_metadata.to_bytes())  # last, where attributes are found without the directory
        self._is_finished = True

    def _write(self, name: str, data: bytes) -> None:
        member = zipfile.ZipInfo(name)  # of no date: equal canvases give equal bytes
        member.external_attr = 0o600 << 16
        self._zip.writestr(member, data)

    def close(self) -> None:
        """Write the file's directory."""
        self._zip.close()

    @property
    def is_finished(self) -> bool:
        """Whether all of the store is written but the file's directory."""
        return self._is_finished


@contextmanager
def new_canvases(cache: Cache, name: str) -> Iterator[CanvasWriter]:
    """Yield the writer of a store; at the end the store is published by one rename, in place of one that is there.

    After an exception nothing is published, and the temporary file is removed.

    Args:
        cache: Of canvases.
        name: Store name.

    Raises:
        FingerprintMismatch: If another run has given the folder other settings meanwhile.
        OSError: If the disk is full; nothing is left behind.
    """
    cache.check_unchanged()
    with new_opened(cache.path(name)) as file:
        writer = CanvasWriter(file, int(cache.fields["image_size"]), cache.fingerprint)
        try:
            yield writer
            assert writer.is_finished, "canvases without keys"
        finally:
            writer.close()


class CanvasStore:
    """An open store of canvases: what its rows are in memory, a canvas by one request. Not to be sent to a process.

    Args:
        path: The file; it may come from strangers.
        num_rows: Of its tar, if that is known: a store of other rows is refused before it is decoded.

    Attributes:
        path: As the argument.
        keys: Sample keys, N of them.
        status: `Status` of each row, (N,), uint8.
        image_sha256: Hash of each image's bytes, (N, 32), uint8.
        attributes: As of `ShardData`.
        size_px: Side of a canvas.
        original: What the file is a copy of, if it is one; a damaged copy is forgotten.

    Raises:
        ShardMissing, ShardCorrupt, ShardStale, FormatVersionError: As `read_store`.
    """

    def __init__(self, path: Place, num_rows: int | None = None) -> None:
        self.path = path
        self.original: Original | None = None
        with telling_damage(path):
            self._archive = Archive(path)
            try:
                self.attributes = parse_attributes(self._archive.read("zarr.json", MAX_ATTRIBUTES_BYTES), path)
                layouts = read_layouts(self._archive, CANVASES)
                self._layout = layouts[CANVASES]
                self._check_shape(num_rows)
                self.status = read_array(self._archive, layouts["status"])
                self.image_sha256 = read_array(self._archive, layouts["image_sha256"])
                self.keys: list[str] = read_array(self._archive, layouts["key"]).tolist()
            except BaseException:
                self._archive.close()
                raise

    def _check_shape(self, num_rows: int | None) -> None:
        rows, height, width, channels = self._layout.shape
        if height != width or channels != 3:
            raise ValueError(f"its canvases are {height} × {width} × {channels}: expected squares of three colours")
        if num_rows not in (None, rows):
            raise ShardStale(
                f"{self.path} has {rows} rows, its tar has {num_rows}: the tar has changed since its canvases were "
                "made. Make them again with --overwrite stale."
            )

    @property
    def size_px(self) -> int:
        """Side of a canvas."""
        return self._layout.shape[1]

    @property
    def num_bytes(self) -> int:
        """Bytes of the file."""
        return self._archive.num_bytes

    def read(self, row: int) -> NDArray[np.uint8]:
        """A row's canvas, (S, S, 3), uint8; black where the image was rejected.

        Raises:
            ShardCorrupt: If it is damaged.
        """
        member = f"{CANVASES}/c/{row}/0/0/0"
        try:
            with telling_damage(self.path):
                values, checksum = self._archive.read_at_once(member, most_bytes(self._layout), CRC_BYTES)
                canvas: NDArray[np.uint8] = decode_chunk(values, checksum, member, self._layout)[0]
        except ShardCorrupt:
            if self.original is not None:
                forget(self.original)  # the next reading asks for it anew
            raise
        return canvas

    def close(self) -> None:
        """Close the file."""
        self._archive.close()


def open_canvases(cache: Cache, name: str, num_rows: int | None = None) -> CanvasStore:
    """Open a store of a cache of canvases.

    Args:
        cache: Of canvases.
        name: The store.
        num_rows: Of its tar, if that is known.

    Raises:
        ShardMissing, ShardCorrupt, ShardStale, FormatVersionError, FingerprintMismatch: As `Cache.read`; corrupt too
            if its canvases have another size than the cache's.
    """
    check_canvases(cache)
    with cache.source(name, whole=True) as path:
        store = CanvasStore(path, num_rows)
    store.path, store.original = cache.path(name), (cache.stores or {}).get(name)
    try:
        cache.check_fingerprint(name, store.attributes)
        if store.size_px != cache.fields.get("image_size"):
            raise ShardCorrupt(
                f"{store.path} holds canvases of {store.size_px} px, cache.json beside it says "
                f"{cache.fields.get('image_size')}. Make them again with --overwrite stale."
            )
    except BaseException:
        store.close()
        raise
    return store


def check_canvases(cache: Cache) -> None:
    """Raise CacheError if a cache's stores hold maps instead of canvases."""
    if not cache.has_canvases:
        raise CacheError(
            f"{cache.folder} holds maps, not canvases. Make canvases first: lare canvases --data … --cache …"
        )
