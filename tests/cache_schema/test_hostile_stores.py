"""A store from strangers: nothing of it runs, nothing is allocated that it only speaks of, one sentence refuses it."""

import functools
import json
import multiprocessing
import os
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

from cache_schema import (
    Cache,
    CacheError,
    Dataset,
    Fingerprint,
    ShardCorrupt,
    ShardData,
    ShardStale,
    Status,
    open_cache,
    store_name,
)
from cache_schema.__main__ import main
from cache_schema.info import describe
from cache_schema.store import read_attributes, read_store, write_store
from tests.cache_schema import hostile_stores
from tests.cache_schema.conftest import NAME, rewrite
from tests.cache_schema.hostile_stores import Members, change_attributes, change_json, with_checksum

MEMORY_BYTES = 2**31
"""What a reader may take above what it has."""


def in_little_memory(read: Callable[[], object]) -> str:
    """What reading says in a process that cannot allocate 2 GiB more."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_limited, args=(read, sender))
    process.start()
    try:
        assert receiver.poll(60), "it hangs"
        return str(receiver.recv())
    finally:
        process.kill()
        process.join()


def _limited(read: Callable[[], object], sender: Any) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        sender.send(f"read: {read()!r:.100}")
    except BaseException as error:
        sender.send(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize(
    "poison", [hostile_stores.as_format_2, hostile_stores.with_pickle_codec, hostile_stores.with_consolidated_metadata]
)
def test_a_strangers_cache_runs_nothing(
    poison: Callable[[Members, Path], None],
    cache: Cache,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where numcodecs would load pickles, as every version before 0.16.6 does."""
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True)
    marker = tmp_path / "marker"
    rewrite(cache.folder / NAME, functools.partial(poison, marker=marker))
    places = ["--data", str(dataset.folder), "--cache", str(cache.folder)]
    main(["verify", *places, "--deep", "--num_workers", "1"])
    main(["status", *places])
    main(["info", str(cache.folder / NAME)])
    main(["info", str(cache.folder)])
    with pytest.raises(ShardCorrupt):
        cache.read(NAME)
    assert not marker.exists()


def test_the_marker_is_made_by_who_loads_the_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True)
    numcodecs.get_codec({"id": "pickle"}).decode(hostile_stores.pickled(tmp_path / "marker"))
    assert (tmp_path / "marker").exists()


def test_no_plug_in_is_found_by_a_codecs_name(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of strangers may register a codec under any name, `zstd` among them."""
    asked: list[object] = []
    monkeypatch.setattr("zarr.registry.get_codec_class", asked.append)
    monkeypatch.setattr("numcodecs.registry.get_codec", asked.append)
    assert len(cache.read(NAME).keys) == 8 and not asked
    rewrite(cache.folder / NAME, change_json("key/zarr.json", codecs=[{"name": "mine"}]))
    with pytest.raises(ShardCorrupt, match=r'key has codecs \[\{"name": "mine"\}\]: expected vlen-utf8, zstd, crc32c'):
        cache.read(NAME)
    assert not asked


def chunk(member: str, data: bytes) -> Callable[[Members], None]:
    """Sets a chunk, with its right checksum."""
    return lambda entries: entries.update({member: with_checksum(data)})


BLOSC, CRC, LITTLE = {"name": "blosc"}, {"name": "crc32c"}, {"name": "bytes", "configuration": {"endian": "little"}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_json("lare/zarr.json", zarr_format=2), "lare has zarr_format 2: expected 3"),
        (change_json("lare/zarr.json", zarr_format=3.0), "zarr_format 3.0"),
        (change_json("lare/zarr.json", node_type="group"), "node_type"),
        (change_json("lare/zarr.json", data_type="float64"), 'data_type "float64": expected float16 or float32'),
        (change_json("lare/zarr.json", data_type={"name": "structured"}), "data_type"),
        (change_json("key/zarr.json", data_type="variable_length_bytes"), "data_type"),
        (change_json("status/zarr.json", fill_value=0), "fill_value 0: expected 255"),
        (change_json("lare/zarr.json", codecs=[LITTLE, BLOSC]), "codecs"),
        (change_json("lare/zarr.json", codecs=[BIG, BLOSC, CRC]), "endian"),
        (change_json("lare/zarr.json", codecs=[LITTLE, {"name": "sharding_indexed"}, CRC]), "sharding_indexed"),
        (change_json("lare/zarr.json", codecs=[{**LITTLE, "must_understand": False}, BLOSC, CRC]), "must_understand"),
        (change_json("lare/zarr.json", codecs="bytes"), "codecs"),
        (change_json("lare/zarr.json", storage_transformers=[{"name": "x"}]), "storage_transformers"),
        (change_json("lare/zarr.json", attributes={"a": 1}), "attributes"),
        (change_json("lare/zarr.json", extension="x"), "extension"),
        (change_json("lare/zarr.json", shape=[8, 4, 8]), "shape"),
        (change_json("lare/zarr.json", shape=[8, 4, 8, True]), "shape"),
        (change_json("lare/zarr.json", shape=[-8, 4, 8, 8]), "shape"),
        (change_json("lare/zarr.json", shape=[8, 4, 8, 16]), "shape"),
        (change_json("lare/zarr.json", chunk_grid={"name": "rectilinear"}), "chunk_grid"),
        (change_json("image_sha256/zarr.json", shape=[8, 64]), "shape"),
        (change_json("status/zarr.json", shape=[9]), "8, 9 rows"),
        (lambda entries: entries.update({"status/zarr.json": b"[]"}), "not an array"),
        (lambda entries: entries.update({"status/zarr.json": b"[" * 60_000}), "recursion"),
        (lambda entries: entries.update({"status/zarr.json": b" " * 70_000}), "65,536 at most"),
        (lambda entries: entries.update({"more/zarr.json": b"{}"}), "it holds more/zarr.json"),
        (lambda entries: entries.update({"lare/c/1/0/0/0": b"1234"}), "it holds lare/c/1/0/0/0"),
        (lambda entries: entries.pop("lare/c/0/0/0/0"), "lare has 0 of 1 chunks"),
        (lambda entries: entries.update({"lare/c/0/0/0/0": b""}), "checksum"),
        (chunk("lare/c/0/0/0/0", b""), "header of blosc"),
        (chunk("lare/c/0/0/0/0", b"\2\1\x94\2" + b"\xff" * 12), "blosc of zstd"),
        (chunk("key/c/0", b"\x28\xb5\x2f\xfd\0\0"), "says how much"),
        (chunk("image_sha256/c/0/0", b"\0" * 255), "expected 256 bytes"),
        (chunk("status/c/0", numcodecs.Zstd().encode(b"\0" * 9)), "inflates to 9"),
    ],
)  # fmt: skip
def test_what_is_no_store_of_ours_is_refused(cache: Cache, change: Callable[[Members], object], words: str) -> None:
    rewrite(cache.folder / NAME, change)
    with pytest.raises(ShardCorrupt, match="is damaged") as caught:
        cache.read(NAME)
    assert words in str(caught.value) and len(str(caught.value)) < 800


def key_chunk(content: bytes) -> Callable[[Members], None]:
    """Sets the chunk of keys."""
    return chunk("key/c/0", numcodecs.Zstd().encode(content))


def text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 36,
        (8).to_bytes(4, "little") + text(b"a") * 7 + b"\xff\xff\xff\xff",
        (8).to_bytes(4, "little") + text(b"a") * 8 + b"more",
        (8).to_bytes(4, "little") + text(b"\xff") * 8,
        (2**32 - 1).to_bytes(4, "little") + text(b"a") * 8,
    ],
    ids=["lengths", "cut", "more", "no utf-8", "four billion"],
)
def test_keys_that_are_none_are_refused(cache: Cache, content: bytes) -> None:
    rewrite(cache.folder / NAME, key_chunk(content))
    said = in_little_memory(lambda: cache.read(NAME))
    assert said.startswith("ShardCorrupt: ") and "key/c/0 cannot be decoded" in said


def zeros(num_bytes: int) -> bytes:
    """A frame that says how many bytes it holds, and one block of a byte that is repeated."""
    return with_checksum(b"\x28\xb5\x2f\xfd\xe0" + num_bytes.to_bytes(8, "little") + b"\xfb\xff\x0f\0")


def blosc_header(num_bytes: int) -> bytes:
    header = bytearray(numcodecs.Blosc("zstd", shuffle=2).encode(np.zeros(1000, np.float16)))
    header[4:8] = num_bytes.to_bytes(4, "little")
    return with_checksum(bytes(header))


def huge_shape(num_rows: int, sides: list[int], chunk: list[int]) -> Callable[[Members], None]:
    """Sets the shape of the maps."""
    grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
    return change_json("lare/zarr.json", shape=[num_rows, *sides], chunk_grid=grid)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (huge_shape(100_000_000, [4, 8, 8], [64, 4, 8, 8]), "rows"),
        (huge_shape(8, [4, 30_000, 30_000], [1, 4, 30_000, 30_000]), "a map has 7,200,000,000 bytes"),
        (huge_shape(8, [10**30, 8, 8], [1, 10**30, 8, 8]), "a map has"),
        (lambda entries: entries.update({"lare/c/0/0/0/0": blosc_header(2**31 - 1)}), "cannot be decoded"),
        (lambda entries: entries.update({"status/c/0": zeros(2**32)}), "inflates to 4,294,967,296 bytes"),
        (lambda entries: entries.update({"key/c/0": zeros(2**32)}), "inflates to 4,294,967,296 bytes"),
    ],
    ids=["rows", "map", "endless", "blosc", "status", "key"],
)
def test_a_small_store_gets_no_more_memory_than_it_can_need(
    cache: Cache, change: Callable[[Members], object], words: str
) -> None:
    rewrite(cache.folder / NAME, change)
    assert (cache.folder / NAME).stat().st_size < 500_000
    said = in_little_memory(lambda: cache.read(NAME))
    assert said.startswith("ShardCorrupt: ") and words in said


def test_all_arrays_of_a_hundred_million_rows_are_refused(cache: Cache) -> None:
    """All four agree, and so does the number of chunks: the file is too small."""

    def change(entries: Members) -> None:
        num = 100_000_000
        for name in ("lare", "key", "status", "image_sha256"):
            shape = json.loads(entries[f"{name}/zarr.json"])["shape"]
            change_json(f"{name}/zarr.json", shape=[num, *shape[1:]])(entries)
        change_attributes(counts={"ok": num})(entries)

    rewrite(cache.folder / NAME, change)
    said = in_little_memory(lambda: cache.read(NAME))
    assert said.startswith("ShardCorrupt: ") and "100,000,000 rows: a file of" in said


def test_maps_of_more_than_a_store_holds_are_refused(tmp_path: Path) -> None:
    """Many equal maps take little room in a file."""
    num = 400
    maps = np.broadcast_to(np.float16(np.nan), (num, 4, 1024, 1024))
    hashes, status = np.ones((num, 32), np.uint8), np.full(num, Status.UNREADABLE, np.uint8)
    shard = ShardData([str(i) for i in range(num)], maps[:, :1, :1, :1], status, hashes, {})
    write_store(tmp_path / NAME, shard, "f")
    chunk = with_checksum(numcodecs.Blosc("zstd", shuffle=2).encode(np.ascontiguousarray(maps[:1])))

    def change(entries: Members) -> None:
        huge_shape(num, [4, 1024, 1024], [1, 4, 1024, 1024])(entries)
        for n in range(num):
            entries[f"lare/c/{n}/0/0/0"] = chunk

    rewrite(tmp_path / NAME, change)
    assert (tmp_path / NAME).stat().st_size < 2**20
    said = in_little_memory(lambda: read_store(tmp_path / NAME))
    assert said.startswith("ShardCorrupt: ") and "its maps have 3,355,443,200 bytes: expected" in said


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"counts": []}, "AttributeError"),
        ({"counts": {"ok": 8.0}}, "counts"),
        ({"counts": {"ok": True}}, "counts"),
        ({"counts": {"ok": -1}}, "counts"),
        ({"counts": {"fine": 8}}, "counts"),
        ({"counts": {"missing": 8}}, "MISSING"),
        ({"reasons": {"8": "x"}}, "reasons"),
        ({"reasons": {"-1": "x"}}, "reasons"),
        ({"reasons": {"²": "x"}}, "reasons"),
        ({"reasons": {"1" * 5000: "x"}}, "reasons"),
        ({"reasons": {"1": 5}}, "reasons"),
        ({"seconds": "nan"}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"seconds": 10**400}, "seconds"),
        ({"format_version": "1"}, "format version 1, this code"),
        ({"format_version": [["\x1b"] * 1000]}, "format version"),
        ({"provenance": json.loads("[" * 500 + "]" * 500)}, "100 lists"),
    ],
)  # fmt: skip
def test_attributes_of_another_kind_are_refused(cache: Cache, attributes: dict[str, Any], words: str) -> None:
    rewrite(cache.folder / NAME, change_attributes(**attributes))
    if words == "MISSING":
        assert cache.attributes(NAME)["counts"] == {"missing": 8}
        return
    for read in (cache.attributes, cache.read):
        with pytest.raises(CacheError) as caught:
            read(NAME)
        assert words in str(caught.value) and len(str(caught.value)) < 800 and "\x1b" not in str(caught.value)


def test_a_store_of_other_rows_than_its_tar_is_refused_before_it_is_decoded(cache: Cache) -> None:
    rewrite(cache.folder / NAME, lambda entries: entries.update({"lare/c/0/0/0/0": b"never looked at"}))
    with pytest.raises(ShardStale, match=r"has 8 rows, its tar has 7"):
        cache.read(NAME, 7)


def test_a_zip_file_that_names_its_bytes_again_and_again_is_refused(tmp_path: Path) -> None:
    path = tmp_path / NAME
    hostile_stores.overlapping_zip(path, "zarr.json", 100)
    with pytest.raises(ShardCorrupt, match="lie over one another"):
        read_store(path)


def test_a_member_that_stands_twice_is_refused(cache: Cache) -> None:
    with zipfile.ZipFile(cache.folder / NAME, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("status/c/0", b"another")
    with pytest.raises(ShardCorrupt, match="status/c/0 stands in it twice"):
        cache.read(NAME)


def test_a_directory_without_end_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / NAME
    hostile_stores.zip_with_directory(path, 4_000_000)
    said = in_little_memory(lambda: read_attributes(path))
    assert (
        said.startswith("ShardCorrupt: ") and "its directory has 220,000,000 bytes: expected 16,777,216 at most" in said
    )


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_one_bad_store_does_not_stop_status_and_is_named(
    kind: str, cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cache.folder / NAME
    path.unlink()
    {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind](path)
    places = ["--data", str(dataset.folder), "--cache", str(cache.folder)]
    for command in (["status", *places], ["verify", *places, "--num_workers", "1"]):
        assert main(command) == 1
        out = capsys.readouterr().out
        assert f"{path} is damaged" in out and "3 done, 0 missing, 0 stale, 1 damaged" in out
    assert "3, 1 that cannot be used" in describe(cache.folder) or kind == "x"


def test_stores_that_other_programs_zipped_again_are_read(cache: Cache, tmp_path: Path) -> None:
    """Folders have entries then, and the order is another one; the bytes are the same."""
    expected = cache.read(NAME)
    with zipfile.ZipFile(cache.folder / NAME) as archive:
        archive.extractall(tmp_path / "store")
    shutil.make_archive(str(tmp_path / "again"), "zip", tmp_path / "store")
    with zipfile.ZipFile(tmp_path / "again.zip") as packed, zipfile.ZipFile(cache.folder / NAME, "w") as archive:
        for info in packed.infolist():
            archive.writestr(info.filename, packed.read(info))
    found = cache.read(NAME)
    assert found.keys == expected.keys and np.array_equal(found.lare, expected.lare)


def test_chunks_of_4096_rows_as_early_writers_made_them_are_read(cache: Cache, dataset: Dataset) -> None:
    expected = cache.read(NAME)

    def change(entries: Members) -> None:
        for name, chunk in (("key", [4096]), ("status", [4096]), ("image_sha256", [4096, 32])):
            change_json(f"{name}/zarr.json", chunk_grid={"name": "regular", "configuration": {"chunk_shape": chunk}})(
                entries
            )
        keys = b"".join(text(key.encode()) for key in expected.keys)
        key_chunk((4096).to_bytes(4, "little") + keys + text(b"") * 4088)(entries)
        entries["status/c/0"] = with_checksum(numcodecs.Zstd().encode(expected.status.tobytes() + b"\xff" * 4088))
        entries["image_sha256/c/0/0"] = with_checksum(expected.image_sha256.tobytes() + bytes(4088 * 32))

    rewrite(cache.folder / NAME, change)
    found = cache.read(NAME)
    assert found.keys == expected.keys and np.array_equal(found.lare, expected.lare)
    assert np.array_equal(found.image_sha256, expected.image_sha256) and np.array_equal(found.status, expected.status)
    assert store_name(dataset.tars[0].name) == NAME


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stored_dtype", "float64"),
        ("stored_dtype", "\x1b[2J"),
        ("stored_dtype", 5),
        ("mantissa_bits", 11),
        ("mantissa_bits", 0),
        ("mantissa_bits", "7"),
        ("image_size", 2**40),
        ("image_size", "64"),
    ],
)
def test_settings_that_no_reader_can_compute_with_are_refused(cache: Cache, field: str, value: int | str) -> None:
    fields = dict(cache.fields) | {field: value}
    content = json.loads((cache.folder / "cache.json").read_text())
    content |= {"fields": fields, "fingerprint": Fingerprint(fields).hexdigest}
    (cache.folder / "cache.json").write_text(json.dumps(content))
    with pytest.raises(CacheError, match=f"{field} is .*: expected") as caught:
        open_cache(cache.folder)
    assert "\x1b" not in str(caught.value)
