"""How the arrays lie in a store: metadata as we write them and no others, sizes that the file can hold.

What the metadata say is compared, never looked up: no codec, type or plug-in is found by a name in a file.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache_schema.archive import Archive
from cache_schema.shown import shown

CHUNK_ROWS = 64
"""Maps in a chunk at most,"""
CHUNK_BYTES = 2**20
"""and their bytes, if there are more than one."""
SMALL_CHUNK_ROWS = 4096
"""Rows in a chunk of the other arrays."""
MAX_METADATA_BYTES = 2**16
MAX_MAP_BYTES = 2**24
"""Of one map: a latent of 16 channels and 512 × 512 places in float32."""
MAX_CANVAS_BYTES = 3 * 2**24
"""Of one canvas: 4,096 px a side."""
MAX_KEY_BYTES = 2**14
INFLATED_BYTES, INFLATED_TIMES = 2**31, 100
"""Bytes of all maps of a store, and how many times those of its file: rejected rows compress to nothing."""
_BYTES, _BLOSC, _ZSTD, _CRC, _TEXTS = "bytes", "blosc", "zstd", "crc32c", "vlen-utf8"
_COMMON = {
    "zarr_format": 3,
    "node_type": "array",
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "attributes": {},
}


@dataclass(frozen=True)
class _Form:
    """What the metadata of one array must say."""

    types: tuple[str, ...]
    tail: tuple[int, ...] | None
    """Sizes behind the first; None: three of a map, or of a canvas."""
    codecs: tuple[str, ...]
    fill_value: object
    dimensions: tuple[str, ...]
    chunk_rows: int = SMALL_CHUNK_ROWS
    """Most rows of a chunk."""
    row_bytes: int = 2**10
    """Most bytes of a row, decoded; the other arrays say themselves how large their rows are."""
    is_read_whole: bool = True


_ROWS = {
    "key": _Form(("string",), (), (_TEXTS, _ZSTD, _CRC), "", ("sample",)),
    "status": _Form(("uint8",), (), (_BYTES, _ZSTD, _CRC), 255, ("sample",)),
    "image_sha256": _Form(("uint8",), (32,), (_BYTES, _CRC), 0, ("sample", "byte")),
}
_PACKED = (_BYTES, _BLOSC, _CRC)
_MAP = ("sample", "channel", "y", "x")
_CANVAS = ("sample", "y", "x", "channel")
MAPS = "lare"
"""The array of a store of maps,"""
CANVASES = "canvas"
"""and of a store of canvases, each a chunk of its own: training reads single rows of it."""
FORMS = {
    MAPS: _Form(("float16", "float32"), None, _PACKED, "NaN", _MAP, CHUNK_ROWS, MAX_MAP_BYTES),
    CANVASES: _Form(("uint8",), None, _PACKED, 0, _CANVAS, 1, MAX_CANVAS_BYTES, is_read_whole=False),
    **_ROWS,
}
"""Name of an array → its form."""


@dataclass(frozen=True)
class Layout:
    """How an array lies in a store, checked."""

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    data_type: str
    """As Zarr calls it; numpy calls all but `string` so too."""
    codecs: tuple[Mapping[str, Any], ...]

    @property
    def num_chunks(self) -> int:
        """Chunks; they divide the first dimension alone."""
        return -(-self.shape[0] // self.chunks[0])

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, decoded; of a key the most that it may have."""
        if self.data_type == "string":
            return MAX_KEY_BYTES
        return math.prod(self.shape[1:]) * np.dtype(self.data_type).itemsize

    def members(self) -> Iterator[str]:
        """Names of its chunks in the zip file."""
        rest = "/0" * (len(self.shape) - 1)
        return (f"{self.name}/c/{n}{rest}" for n in range(self.num_chunks))


def read_layouts(archive: Archive, content: str = MAPS) -> dict[str, Layout]:
    """The arrays of a store by their names, from their metadata alone.

    Args:
        archive: The store's file.
        content: What it holds besides keys, statuses and hashes: `MAPS` or `CANVASES`.

    Raises:
        ValueError: If the metadata are not those of a store, a chunk is missing, there is more in the store, or the
            maps have more bytes than such a file can hold.
    """
    names = (content, *_ROWS)
    layouts = {name: _parse_layout(name, _load(archive, name)) for name in names}
    num_rows = {layout.shape[0] for layout in layouts.values()}
    if len(num_rows) > 1:
        raise ValueError(f"its arrays have {', '.join(map(str, sorted(num_rows)))} rows: expected as many each")
    _check_sizes(archive, layouts, content)
    expected = {"zarr.json", *(f"{name}/zarr.json" for name in names)}
    for layout in layouts.values():
        chunks = set(layout.members())
        if len(there := chunks & archive.names) != len(chunks):
            raise ValueError(f"{layout.name} has {len(there)} of {len(chunks)} chunks")
        expected |= chunks
    if more := sorted(archive.names - expected):
        raise ValueError(
            f"it holds {shown(more[0])}: expected the arrays of a store in Zarr format 3, and nothing else"
        )
    return layouts


def _load(archive: Archive, name: str) -> dict[str, Any]:
    content = json.loads(archive.read(f"{name}/zarr.json", MAX_METADATA_BYTES))
    if not isinstance(content, dict):
        raise ValueError(f"{name} is not an array")
    return content


def _parse_layout(name: str, content: dict[str, Any]) -> Layout:
    form = FORMS[name]
    expected = {**_COMMON, "fill_value": form.fill_value, "dimension_names": list(form.dimensions)}
    for field, value in expected.items():
        _expect(name, field, content.pop(field, None), value)
    _expect(name, "storage_transformers", content.pop("storage_transformers", []), [])
    data_type = content.pop("data_type", None)
    if data_type not in form.types:
        raise ValueError(f"{name} has data_type {_short(data_type)}: expected {' or '.join(form.types)}")
    shape = _parse_sizes(name, "shape", content.pop("shape", None), len(form.dimensions))
    grid = content.pop("chunk_grid", None)
    chunks = _parse_sizes(name, "chunk_grid", _configuration(grid, "regular").get("chunk_shape"), len(form.dimensions))
    codecs = _parse_codecs(name, content.pop("codecs", None), form.codecs)
    if content:
        raise ValueError(f"{name} has {_short(sorted(content)[0])} in its metadata, which no store has")
    layout = Layout(name, shape, chunks, data_type, codecs)
    most = form.chunk_rows
    if form.tail is None:
        most = max(1, min(most, CHUNK_BYTES // layout.row_bytes))
    if shape[1:] != (form.tail if form.tail is not None else shape[1:]) or chunks[1:] != shape[1:] or chunks[0] > most:
        raise ValueError(f"{name} has shape {shape} in chunks of {chunks}, which no store has")
    return layout


def _parse_sizes(name: str, field: str, sizes: object, num: int) -> tuple[int, ...]:
    if not isinstance(sizes, list) or len(sizes) != num or not all(type(size) is int for size in sizes):
        raise ValueError(f"{name} has {field} {_short(sizes)}: expected {num} sizes")
    least = [0 if field == "shape" else 1, *[1] * (num - 1)]
    if any(size < low for size, low in zip(sizes, least, strict=True)):
        raise ValueError(f"{name} has {field} {_short(sizes)}: expected sizes that are no less than {least}")
    return tuple(sizes)


def _parse_codecs(name: str, codecs: object, expected: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    listed = codecs if isinstance(codecs, list) else []
    names = [codec.get("name") if isinstance(codec, dict) else None for codec in listed]
    if names != list(expected):
        raise ValueError(f"{name} has codecs {_short(codecs)}: expected {', '.join(expected)}")
    for codec in listed:
        settings = codec.get("configuration", {})
        is_ours = isinstance(settings, dict) and all(_is_plain(value) for value in settings.values())
        if not is_ours or settings.get("endian", "little") != "little" or not codec.keys() <= {"name", "configuration"}:
            raise ValueError(f"{name} has codec {_short(codec)}, which no store has")
    return tuple(listed)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) and len(str(value)) < 100


def _configuration(value: object, name: str) -> dict[str, Any]:
    settings = value.get("configuration") if isinstance(value, dict) and value.get("name") == name else None
    return settings if isinstance(settings, dict) else {}


def _expect(name: str, field: str, found: object, expected: object) -> None:
    # By their texts: in Python 3.0 and True equal what they are not.
    if json.dumps(found, sort_keys=True) != json.dumps(expected, sort_keys=True):
        raise ValueError(f"{name} has {field} {_short(found)}: expected {_short(expected)}")


def _short(value: object) -> str:
    return shown(json.dumps(value), 200)


def _check_sizes(archive: Archive, layouts: Mapping[str, Layout], content: str) -> None:
    """Hashes are stored as they are, so that the file's size bounds the rows; the other arrays follow from these."""
    hashes, main, form = layouts["image_sha256"], layouts[content], FORMS[content]
    num_rows = main.shape[0]
    if num_rows * hashes.row_bytes > archive.num_bytes:
        raise ValueError(f"its arrays have {num_rows:,} rows: a file of {archive.num_bytes:,} bytes cannot hold them")
    if main.row_bytes > form.row_bytes:
        what = "map" if content == MAPS else "canvas"
        raise ValueError(f"a {what} has {main.row_bytes:,} bytes: expected {form.row_bytes:,} at most")
    if form.is_read_whole and num_rows * main.row_bytes > (most := INFLATED_BYTES + INFLATED_TIMES * archive.num_bytes):
        raise ValueError(
            f"its maps have {num_rows * main.row_bytes:,} bytes: expected {most:,} at most in a file of "
            f"{archive.num_bytes:,}"
        )
