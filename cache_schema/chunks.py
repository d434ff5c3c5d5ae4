"""Chunks of a store's arrays, decoded: by the functions that are named here alone, into room of known size."""

import math
from collections.abc import Callable

import google_crc32c
import numcodecs.blosc
import numcodecs.zstd
import numpy as np

from cache_schema.archive import Archive
from cache_schema.layout import CANVASES, MAPS, MAX_KEY_BYTES, Layout

CRC_BYTES = 4
_BLOSC_HEADER_BYTES, _ZSTD_IN_BLOSC = 16, 4
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def read_array(archive: Archive, layout: Layout) -> np.ndarray:
    """An array's values, (rows, …); of `key` texts, as objects.

    Raises:
        ValueError: If a chunk is not what its layout says.
    """
    out: np.ndarray = np.empty(layout.shape, object if layout.data_type == "string" else layout.data_type)
    for n, member in enumerate(layout.members()):
        rows = out[n * layout.chunks[0] : (n + 1) * layout.chunks[0]]
        data = archive.read(member, most_bytes(layout))
        rows[:] = decode_chunk(data[:-CRC_BYTES], data[-CRC_BYTES:], member, layout)[: len(rows)]
    return out


def decode_chunk(values: bytes, checksum: bytes, member: str, layout: Layout) -> np.ndarray:
    """A chunk's values, (rows of a chunk, …).

    Args:
        values: The chunk without its checksum,
        checksum: and that.
        member: Its name, for messages.
        layout: Of its array.

    Raises:
        ValueError: If it is not what its layout says.
    """
    if len(checksum) < CRC_BYTES or google_crc32c.value(values) != int.from_bytes(checksum, "little"):
        raise ValueError(f"{member} fails its checksum")
    try:
        return _DECODERS[layout.name](memoryview(values), layout)
    except (ValueError, RuntimeError) as error:  # of the decompressors
        raise ValueError(f"{member} cannot be decoded ({error})") from error


def most_bytes(layout: Layout) -> int:
    """Of a chunk in the file: no compressor makes it larger than by its header and one part in a hundred."""
    plain = layout.chunks[0] * layout.row_bytes
    return plain + plain // 100 + 2**12


def _decode_blosc(data: memoryview, layout: Layout) -> np.ndarray:
    out = np.empty(layout.chunks, np.dtype(layout.data_type).newbyteorder("<"))
    if len(data) < _BLOSC_HEADER_BYTES:
        raise ValueError("expected a header of blosc")
    inflated, packed = (int.from_bytes(data[at : at + 4], "little") for at in (4, 12))
    if (inflated, packed) != (out.nbytes, len(data)) or (data[2] >> 5, data[3]) != (_ZSTD_IN_BLOSC, out.itemsize):
        raise ValueError(f"expected blosc of zstd, {out.nbytes:,} bytes inflated")
    numcodecs.blosc.decompress(data, out)
    return out


def _decode_statuses(data: memoryview, layout: Layout) -> np.ndarray:
    return _inflate(data, layout.chunks[0], layout.chunks[0])


def _decode_hashes(data: memoryview, layout: Layout) -> np.ndarray:
    if len(data) != math.prod(layout.chunks):
        raise ValueError(f"expected {math.prod(layout.chunks):,} bytes")
    return np.frombuffer(data, np.uint8).reshape(layout.chunks)


def _decode_keys(data: memoryview, layout: Layout) -> np.ndarray:
    """Texts behind their number, each behind its length: 32 bits, the lowest first."""
    num = layout.chunks[0]
    content = _inflate(data, 4 + 4 * num, 4 + num * (4 + MAX_KEY_BYTES)).tobytes()
    if int.from_bytes(content[:4], "little") != num:
        raise ValueError(f"expected {num} texts")
    texts, at = np.empty(num, object), 4
    for i in range(num):
        start = at + 4
        at = start + int.from_bytes(content[at:start], "little")
        texts[i] = content[start:at].decode()
    if at != len(content):
        raise ValueError(f"expected texts of {len(content):,} bytes in all")
    return texts


def _inflate(data: memoryview, least: int, most: int) -> np.ndarray:
    """What a Zstandard frame holds; its header says how much."""
    size = _zstd_content_bytes(data)
    if not least <= size <= most:
        raise ValueError(f"it inflates to {size:,} bytes: expected {least:,} to {most:,}")
    out = np.empty(size, np.uint8)
    numcodecs.zstd.decompress(data, out)
    return out


def _zstd_content_bytes(data: memoryview) -> int:
    """Frame_Content_Size of RFC 8878, section 3.1.1.1; a frame that does not tell it is none of ours."""
    descriptor = data[4] if len(data) > 4 and bytes(data[:4]) == _ZSTD_MAGIC else 0
    is_single, code = descriptor >> 5 & 1, descriptor >> 6
    num_bytes = (is_single, 2, 4, 8)[code]
    if not num_bytes or descriptor & 3:
        raise ValueError("expected a frame of zstd that says how much it holds")
    at = 5 + (not is_single)
    return int.from_bytes(data[at : at + num_bytes], "little") + (256 if num_bytes == 2 else 0)


_DECODERS: dict[str, Callable[[memoryview, Layout], np.ndarray]] = {
    MAPS: _decode_blosc,
    CANVASES: _decode_blosc,
    "key": _decode_keys,
    "status": _decode_statuses,
    "image_sha256": _decode_hashes,
}
