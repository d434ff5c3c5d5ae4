"""One Zarr store, the features of one tar: written whole or not at all, read whole and checked.

A store is a Zarr v3 group in one uncompressed zip file. Others read it with zarr alone:
`zarr.open_group(zarr.storage.ZipStore(path, mode="r"), mode="r")["lare"][:]`.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.storage import ZipStore

from cache_schema.addresses import Place
from cache_schema.archive import Archive, read_outermost
from cache_schema.attributes import MAX_ATTRIBUTES_BYTES, complete_attributes, parse_attributes
from cache_schema.chunks import read_array
from cache_schema.errors import CacheError, ShardCorrupt, ShardMissing, ShardStale, StorageError
from cache_schema.files import new_file
from cache_schema.layout import CHUNK_BYTES, CHUNK_ROWS, FORMS, MAPS, SMALL_CHUNK_ROWS, Layout, read_layouts
from cache_schema.shown import shown
from cache_schema.status import Status, is_ok

FULL_MANTISSA_BITS = {"float16": 10, "float32": 23}
WHOLE_BYTES, DIRECTORY_BYTES = 2**26, 2**14
"""Of a store's end in object storage, read with the first request: for all of it, and for its attributes."""


@dataclass(frozen=True)
class ShardData:
    """The features of one tar; row i belongs to sample i of the tar.

    Attributes:
        keys: Sample keys, N of them.
        lare: Maps, (N, c, h, w), float; NaN where the image was rejected.
        status: `Status` of each row, (N,), uint8.
        image_sha256: Hash of each image's bytes, (N, 32), uint8.
        attributes: JSON values: `tar`, `rows_sha256`, `reasons` (row number as text → why it was rejected),
            `provenance`, and what the reader adds (`format_version`, `fingerprint`, `counts`).
    """

    keys: list[str]
    lare: np.ndarray
    status: np.ndarray
    image_sha256: np.ndarray
    attributes: Mapping[str, Any]

    @property
    def num_rejected(self) -> int:
        """Number of rejected rows."""
        return int((~is_ok(self.status)).sum())

    def check(self) -> None:
        """Raise ValueError where the rows contradict each other."""
        n = len(self.keys)
        if self.lare.ndim != 4 or {len(self.lare), len(self.status), len(self.image_sha256)} != {n}:
            raise ValueError(
                f"{n} keys, lare {self.lare.shape}, status {self.status.shape}, image_sha256 {self.image_sha256.shape}"
            )
        if len(set(self.keys)) != n:
            raise ValueError("a key stands in two rows")
        if (self.status == Status.MISSING).any():
            raise ValueError(f"row {int((self.status == Status.MISSING).argmax())} was never written")
        finite = np.isfinite(self.lare).all(axis=(1, 2, 3))
        wrong = is_ok(self.status) & ~finite
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(f"row {row} ({self.keys[row]}) is marked ok, but its map is not finite")


def round_mantissa(lare: np.ndarray, stored_dtype: str, mantissa_bits: int) -> np.ndarray:
    """Maps as they are stored: rounded to a number of mantissa bits, then cast.

    Args:
        lare: Maps, float32.
        stored_dtype: `float16` or `float32`.
        mantissa_bits: Bits to keep; all of the dtype's means no rounding.

    Returns:
        Maps in the stored dtype; what is not finite stays so, and what is too large for the dtype becomes infinite.
    """
    if mantissa_bits < FULL_MANTISSA_BITS[stored_dtype]:
        codec = numcodecs.BitRound(keepbits=mantissa_bits)
        rounded = codec.decode(codec.encode(np.ascontiguousarray(lare, dtype=np.float32))).reshape(lare.shape)
        # BitRound adds to the bits as an integer: a GPU's NaN, 0x7fffffff, would become -0.0.
        lare = np.where(np.isfinite(lare), rounded, lare)
    with np.errstate(over="ignore"):  # an overflow to infinity is found, and named by row, by ShardData.check
        return lare.astype(stored_dtype)


def fits_stored(lare: NDArray[Any], stored_dtype: str, mantissa_bits: int) -> NDArray[np.bool_]:
    """Whether each map is finite once it is rounded and cast: (…,) for maps (…, c, h, w) in float32."""
    finite: NDArray[np.bool_] = np.isfinite(round_mantissa(lare, stored_dtype, mantissa_bits)).all(axis=(-3, -2, -1))
    return finite


def non_finite_reason(stored_dtype: str) -> str:
    """Why a row has the status `NON_FINITE`."""
    return f"the map is not finite in fp32, or does not fit {stored_dtype}"


def write_store(path: Place, shard: ShardData, fingerprint: str, *, replace: bool = True) -> None:
    """Publish a store by one rename, or one request: readers see the whole store or none.

    Args:
        path: Where it goes.
        shard: Maps in their stored dtype.
        fingerprint: Hash of the settings that made them.
        replace: Take the place of a store that is there; otherwise it is refused.

    Raises:
        ValueError: If the rows contradict each other.
        FileExistsError: If a store is there and `replace` is off.
        OSError: If the disk is full; nothing is left behind.
    """
    shard.check()
    attributes = complete_attributes(shard.attributes, shard.status, fingerprint)
    with new_file(path, replace=replace) as temporary, _new_zip(temporary) as store:
        _write_arrays(zarr.create_group(store, attributes=attributes), shard)


@contextmanager
def _new_zip(path: Path) -> Iterator[ZipStore]:
    # zarr's types leave out the mode that never opens what is there, which its documentation names.
    store = ZipStore(path, mode="x", compression=zipfile.ZIP_STORED)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        with suppress(AttributeError):  # zarr 3.1 cannot close what it could not open
            store.close()


def _write_arrays(group: zarr.Group, shard: ShardData) -> None:
    map_bytes = max(1, shard.lare[0].nbytes) if len(shard.lare) else 1
    map_rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // map_bytes))
    # One block a chunk: 1 to 6 % smaller than blosc's own choice of 64 KiB, and as fast.
    bitshuffle = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", blocksize=CHUNK_BYTES)
    array = group.create_array(
        MAPS,
        shape=shard.lare.shape,
        dtype=shard.lare.dtype,
        chunks=(map_rows, *shard.lare.shape[1:]),
        compressors=[bitshuffle, Crc32cCodec()],
        fill_value=np.nan,
        dimension_names=FORMS[MAPS].dimensions,
        config={"write_empty_chunks": True},
    )
    array[:] = shard.lare
    write_rows(group, shard.keys, shard.status, shard.image_sha256)


def write_rows(group: zarr.Group, keys: Sequence[str], status: np.ndarray, image_sha256: np.ndarray) -> None:
    """Write the arrays that say which sample a row is and what became of it.

    Args:
        group: New store.
        keys: Sample keys, N of them.
        status: `Status` of each row, (N,), uint8.
        image_sha256: Hash of each image's bytes, (N, 32), uint8.
    """
    # A chunk is stored in full, also where the rows end inside it.
    rows = max(1, min(SMALL_CHUNK_ROWS, len(keys)))
    texts = np.array(keys, dtype=np.dtypes.StringDType())
    small: tuple[tuple[str, np.ndarray, tuple[int, ...], list[ZstdCodec]], ...] = (
        ("key", texts, (rows,), [ZstdCodec(level=3)]),
        ("status", status, (rows,), [ZstdCodec(level=3)]),
        ("image_sha256", image_sha256, (rows, 32), []),
    )
    for name, data, chunks, codecs in small:
        array = group.create_array(
            name,
            shape=data.shape,
            dtype=str if name == "key" else data.dtype,
            chunks=chunks,
            compressors=[*codecs, Crc32cCodec()],
            fill_value=FORMS[name].fill_value,
            dimension_names=FORMS[name].dimensions,
            config={"write_empty_chunks": True},
        )
        array[:] = data


def read_store(path: Place, num_rows: int | None = None) -> ShardData:
    """Read a whole store and check that it is whole.

    Args:
        path: The file; it may come from strangers.
        num_rows: Of its tar, if that is known: a store of other rows is refused before it is decoded.

    Raises:
        ShardMissing: If there is no such file.
        ShardCorrupt: If it is no store, a part is missing, or a checksum fails.
        ShardStale: If it has another number of rows.
        FormatVersionError: If another version of the format wrote it.
    """
    with _opened(path, WHOLE_BYTES) as archive:
        attributes = parse_attributes(archive.read("zarr.json", MAX_ATTRIBUTES_BYTES), path)
        layouts = read_layouts(archive)
        if num_rows is not None and layouts["lare"].shape[0] != num_rows:
            raise ShardStale(
                f"{path} has {layouts['lare'].shape[0]} rows, its tar has {num_rows}: the tar has changed since its "
                "features were made. Extract it again with --overwrite stale."
            )
        # The largest comes last: the others say sooner that something is wrong.
        arrays = {name: read_array(archive, layouts[name]) for name in ("status", "image_sha256", "key", "lare")}
        shard = ShardData(
            keys=arrays["key"].tolist(),
            lare=arrays["lare"],
            status=arrays["status"],
            image_sha256=arrays["image_sha256"],
            attributes=attributes,
        )
        shard.check()
    return shard


def read_attributes(path: Place) -> dict[str, Any]:
    """Attributes of a store, from its metadata alone: about 0.1 ms, no arrays are opened.

    Raises:
        ShardMissing, ShardCorrupt, FormatVersionError: As `read_store`.
    """
    with telling_damage(path):
        found = read_outermost(path, "zarr.json", MAX_ATTRIBUTES_BYTES, DIRECTORY_BYTES)
        if found is not None:
            return parse_attributes(found, path)
    with _opened(path) as archive:
        return parse_attributes(archive.read("zarr.json", MAX_ATTRIBUTES_BYTES), path)


def read_array_layouts(path: Place, content: str = MAPS) -> dict[str, Layout]:
    """How the arrays lie in a store of maps, or of other content (`read_layouts`).

    Raises:
        ShardMissing, ShardCorrupt: As `read_store`.
    """
    with _opened(path) as archive:
        return read_layouts(archive, content)


@contextmanager
def _opened(path: Place, tail_bytes: int = DIRECTORY_BYTES) -> Iterator[Archive]:
    """The store's zip file; what is wrong with it is told with its name."""
    with telling_damage(path), Archive(path, tail_bytes) as archive:
        yield archive


@contextmanager
def telling_damage(path: Place) -> Iterator[None]:
    """Have what is wrong with a store told in a sentence with its name, as a `CacheError`."""
    try:
        yield
    except (CacheError, StorageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise ShardMissing(f"{path} does not exist. Extract this tar first.") from error
    except Exception as error:
        # Zip, json and the codecs answer damaged bytes with many exception classes; each means the store is unusable.
        raise ShardCorrupt(
            f"{path} is damaged ({type(error).__name__}: {shown(str(error))}). "
            "Extract this tar again with --overwrite stale."
        ) from error
