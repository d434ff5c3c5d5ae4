"""Stores as strangers make them, and a marker file that nothing may make."""

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c

Members = dict[str, bytes]


class Marker:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.path}",)


def pickled(marker: Path) -> bytes:
    """What numcodecs' pickle codec decodes, and what of it makes the marker."""
    return pickle.dumps([Marker(marker), "O", (1,)])


def with_checksum(data: bytes) -> bytes:
    """A chunk with the crc32c behind it."""
    return data + struct.pack("<I", google_crc32c.value(data))


def change_json(name: str, **fields: Any) -> Callable[[Members], None]:
    """Sets fields of a member of JSON."""

    def change(entries: Members) -> None:
        entries[name] = json.dumps(json.loads(entries[name]) | fields).encode()

    return change


def change_attributes(**fields: Any) -> Callable[[Members], None]:
    """Sets attributes of the store."""

    def change(entries: Members) -> None:
        content = json.loads(entries["zarr.json"])
        content["attributes"] |= fields
        entries["zarr.json"] = json.dumps(content).encode()

    return change


def as_format_2(entries: Members, marker: Path) -> None:
    """The group says that it is in Zarr format 2, and so its maps may be: through a pickle."""
    del entries["lare/zarr.json"], entries["lare/c/0/0/0/0"]
    change_json("zarr.json", zarr_format=2)(entries)
    # zarr knows the type by the first of the filters, and decodes by the last one first.
    fields = {"zarr_format": 2, "dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]}
    content = {**fields, "shape": [8], "chunks": [8], "fill_value": None, "order": "C", "compressor": None}
    entries["lare/.zarray"] = json.dumps(content).encode()
    entries["lare/0"] = pickled(marker)


def with_pickle_codec(entries: Members, marker: Path) -> None:
    """The maps through the pickle codec, by its name in numcodecs' registry."""
    change_json("lare/zarr.json", codecs=[{"name": "numcodecs.pickle"}, {"name": "bytes"}])(entries)
    entries["lare/c/0/0/0/0"] = pickled(marker)


def with_consolidated_metadata(entries: Members, marker: Path) -> None:
    """The group brings metadata of an array that is in format 2."""
    as_format_2(entries, marker)
    array = json.loads(entries.pop("lare/.zarray"))
    consolidated = {"kind": "inline", "must_understand": False, "metadata": {"lare": array}}
    change_json("zarr.json", zarr_format=3, consolidated_metadata=consolidated)(entries)


def zip_with_directory(path: Path, num_members: int) -> None:
    """A zip file of so many empty members, written without zipfile: it would take its time."""
    name = b"zarr.json"
    local = b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0) + name
    entry = (
        b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    )
    count = min(num_members, 0xFFFF)
    size = num_members * len(entry)
    end_64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, num_members, num_members, size, len(local))
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(local) + size, 1)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(local + entry * num_members + end_64 + locator + end)


def overlapping_zip(path: Path, name: str, num: int) -> None:
    """A zip file whose directory names one member's bytes again and again."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"x" * 10_000)
        for n in range(num):
            info = zipfile.ZipInfo(f"lare/c/{n}/0/0/0")
            first = archive.infolist()[0]
            info.header_offset, info.file_size, info.compress_size, info.CRC = (
                0,
                first.file_size,
                first.file_size,
                first.CRC,
            )
            archive.filelist.append(info)
