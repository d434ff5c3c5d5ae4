"""One Zarr store, the features of one tar: written whole or not at all, read whole and checked.

A store is a Zarr v3 group in one uncompressed zip file. Others read it with zarr alone:
`zarr.open_group(zarr.storage.ZipStore(path, mode="r"), mode="r")["lare"][:]`.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping
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

from cache_schema.errors import FormatVersionError, ShardCorrupt, ShardMissing
from cache_schema.files import new_file
from cache_schema.status import Status, is_ok

FORMAT_VERSION = 1
CHUNK_ROWS = 64
CHUNK_BYTES = 2**20
FULL_MANTISSA_BITS = {"float16": 10, "float32": 23}


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


def write_store(path: Path, shard: ShardData, fingerprint: str) -> None:
    """Publish a store by one rename: readers see the whole store or none.

    Args:
        path: Where it goes; a store that is there is replaced.
        shard: Maps in their stored dtype.
        fingerprint: Hash of the settings that made them.

    Raises:
        ValueError: If the rows contradict each other.
        OSError: If the disk is full; nothing is left behind.
    """
    shard.check()
    statuses, counts = np.unique(shard.status, return_counts=True)
    attributes = {
        **shard.attributes,
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "counts": {Status(s).name.lower(): int(c) for s, c in zip(statuses, counts, strict=True)},
    }
    with new_file(path) as temporary, _new_zip(temporary) as store:
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
    small_rows = max(1, min(4096, len(shard.keys)))  # a chunk is stored in full, also where the rows end inside it
    # One block a chunk: 1 to 6 % smaller than blosc's own choice of 64 KiB, and as fast.
    bitshuffle = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", blocksize=CHUNK_BYTES)
    for name, data, chunks, codecs, fill, dimensions in (
        ("lare", shard.lare, (map_rows, *shard.lare.shape[1:]), [bitshuffle], np.nan, ("sample", "channel", "y", "x")),
        (
            "key",
            np.array(shard.keys, dtype=np.dtypes.StringDType()),
            (small_rows,),
            [ZstdCodec(level=3)],
            "",
            ("sample",),
        ),
        ("status", shard.status, (small_rows,), [ZstdCodec(level=3)], int(Status.MISSING), ("sample",)),
        ("image_sha256", shard.image_sha256, (small_rows, 32), [], 0, ("sample", "byte")),
    ):
        array = group.create_array(
            name,
            shape=data.shape,
            dtype=str if name == "key" else data.dtype,
            chunks=chunks,
            compressors=[*codecs, Crc32cCodec()],
            fill_value=fill,
            dimension_names=dimensions,
            config={"write_empty_chunks": True},
        )
        array[:] = data


def read_store(path: Path) -> ShardData:
    """Read a whole store and check that it is whole.

    Raises:
        ShardMissing: If there is no such file.
        ShardCorrupt: If it is no store, a part is missing, or a checksum fails.
        FormatVersionError: If another version of the format wrote it.
    """
    attributes = read_attributes(path)
    try:
        _check_members(path)
        with ZipStore(path, mode="r") as store:
            group = zarr.open_group(store, mode="r")
            arrays = {name: _whole_array(group, name) for name in ("lare", "key", "status", "image_sha256")}
        shard = ShardData(
            keys=[str(k) for k in arrays["key"]],
            lare=arrays["lare"],
            status=arrays["status"],
            image_sha256=arrays["image_sha256"],
            attributes=attributes,
        )
        shard.check()
    except Exception as error:
        # Zip, zarr and the codecs answer damaged bytes with many exception classes; each means the store is unusable.
        raise _corrupt(path, error) from error
    return shard


def _check_members(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        packed = [info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ValueError(f"{packed[0]} is compressed: expected a zip file without compression")


def _whole_array(group: zarr.Group, name: str) -> np.ndarray:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"{name} is not an array")
    # A chunk that is not there reads as fill value, without an error.
    if array.nchunks_initialized != array.nchunks:
        raise ValueError(f"{name} has {array.nchunks_initialized} of {array.nchunks} chunks")
    return np.asarray(array[:])


def read_attributes(path: Path) -> dict[str, Any]:
    """Attributes of a store, from its metadata alone: about 0.1 ms, no arrays are opened.

    Raises:
        ShardMissing, ShardCorrupt, FormatVersionError: As `read_store`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("zarr.json").compress_type != zipfile.ZIP_STORED:  # a bomb would fill the memory
                raise ValueError("zarr.json is compressed: expected a zip file without compression")
            metadata = json.loads(archive.read("zarr.json"))
        attributes = metadata["attributes"]
        version = attributes["format_version"]
    except FileNotFoundError as error:
        raise ShardMissing(f"{path} does not exist. Extract this tar first.") from error
    except Exception as error:  # zipfile answers damaged bytes with many exception classes, as in read_store
        raise _corrupt(path, error) from error
    if version != FORMAT_VERSION:
        raise FormatVersionError(
            f"{path} has format version {version}, this code reads {FORMAT_VERSION}. "
            "Extract it again with --overwrite stale."
        )
    return dict(attributes)


def _corrupt(path: Path, error: Exception) -> ShardCorrupt:
    return ShardCorrupt(
        f"{path} is damaged ({type(error).__name__}: {error}). Extract this tar again with --overwrite stale."
    )
