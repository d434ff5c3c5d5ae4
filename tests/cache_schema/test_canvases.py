"""Stores of canvases: what zarr reads, what our reader refuses, and what the commands around a cache say of them."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr

from cache_schema import (
    Cache,
    CacheError,
    CanvasStore,
    Dataset,
    DatasetError,
    FingerprintMismatch,
    ShardCorrupt,
    ShardMissing,
    ShardStale,
    Status,
    canvas_fingerprint,
    check_join,
    create_cache,
    decode_image,
    encode_canvas,
    new_canvases,
    open_cache,
    open_canvases,
    read_image_bytes,
    resize_canvas,
    store_name,
)
from cache_schema.__main__ import main
from cache_schema.archive import Archive
from tests.cache_schema.conftest import NAME, fill_cache, rewrite
from tests.cache_schema.hostile_stores import Members, change_attributes, change_json, with_checksum
from tests.cache_schema.test_hostile_stores import in_little_memory

SIZE = 32
REJECTED = 3
"""Row of the first tar that has no canvas."""


def canvases_of(dataset: Dataset, n: int) -> np.ndarray:
    """Canvases of a tar, (rows, SIZE, SIZE, 3)."""
    columns = dataset.rows(n).select(["offset", "size"]).to_pylist()
    files = [read_image_bytes(dataset.tar_path(n), row["offset"], row["size"]) for row in columns]
    return np.stack([resize_canvas(decode_image(data), SIZE) for data in files])


def fill_canvases(folder: Path, dataset: Dataset) -> Cache:
    """A cache of every tar's canvases; one row of the first is rejected, though its image is fine."""
    cache = create_cache(folder, dataset.dataset_id, canvas_fingerprint(SIZE, dataset))
    for n, entry in enumerate(dataset.tars):
        rows = dataset.rows(n)
        chunks = [encode_canvas(canvas) for canvas in canvases_of(dataset, n)]
        status, reasons = np.zeros(len(rows), np.uint8), {}
        if n == 0:
            chunks[REJECTED], status[REJECTED], reasons = b"", Status.UNREADABLE, {str(REJECTED): "a test"}
        hashes = np.frombuffer(bytes.fromhex("".join(rows["sha256"].to_pylist())), np.uint8).reshape(-1, 32)
        attributes = {"tar": entry.name, "rows_sha256": entry.rows_sha256, "reasons": reasons, "provenance": {}}
        with new_canvases(cache, store_name(entry.name)) as writer:
            writer.add(chunks[:5])
            writer.add(chunks[5:])
            writer.finish(rows["key"].to_pylist(), status, hashes, attributes)
    return cache


@pytest.fixture
def canvases(dataset: Dataset, tmp_path: Path) -> Cache:
    return fill_canvases(tmp_path / "canvas-32", dataset)


def read_all(cache: Cache) -> list[np.ndarray]:
    store = open_canvases(cache, NAME)
    try:
        return [store.read(row) for row in range(len(store.keys))]
    finally:
        store.close()


def test_canvases_come_back_to_the_bit_and_zarr_reads_the_same(canvases: Cache, dataset: Dataset) -> None:
    expected = canvases_of(dataset, 0)
    expected[REJECTED] = 0
    np.testing.assert_array_equal(read_all(canvases), expected)
    with zarr.storage.ZipStore(canvases.path(NAME), mode="r") as store:
        group = zarr.open_group(store, mode="r")
        np.testing.assert_array_equal(group["canvas"][:], expected)  # type: ignore[index]
        assert group["key"][:].tolist() == dataset.rows(0)["key"].to_pylist()  # type: ignore[index, union-attr]
        assert group["canvas"].chunks == (1, SIZE, SIZE, 3)  # type: ignore[union-attr]


def test_a_chunk_is_what_zarr_would_write(canvases: Cache, tmp_path: Path) -> None:
    """So that a store is one of its metadata's codecs, for every reader of Zarr."""
    with zarr.storage.ZipStore(canvases.path(NAME), mode="r") as store:
        array = zarr.open_group(store, mode="r")["canvas"]
        metadata, values = array.metadata, array[:]  # type: ignore[union-attr, index]
    members: dict[str, object] = {}
    copy = zarr.create_array(
        zarr.storage.MemoryStore(members),  # type: ignore[arg-type]
        shape=values.shape,  # type: ignore[union-attr]
        dtype="uint8",
        chunks=(1, SIZE, SIZE, 3),
        compressors=list(metadata.codecs[1:]),  # type: ignore[union-attr]
        config={"write_empty_chunks": True},
    )
    copy[:] = values
    with zipfile.ZipFile(canvases.path(NAME)) as archive:
        for row in range(len(values)):  # type: ignore[arg-type]
            assert archive.read(f"canvas/c/{row}/0/0/0") == members[f"c/{row}/0/0/0"].to_bytes()  # type: ignore[attr-defined]


def test_equal_canvases_give_equal_files(canvases: Cache, dataset: Dataset, tmp_path: Path) -> None:
    again = fill_canvases(tmp_path / "again", dataset)
    assert again.path(NAME).read_bytes() == canvases.path(NAME).read_bytes()


def test_a_store_joins_its_tar_and_no_other(canvases: Cache, dataset: Dataset) -> None:
    store = open_canvases(canvases, NAME, 8)
    check_join(store, dataset.rows(0), dataset.tars[0])
    with pytest.raises(ShardStale, match="the index"):
        check_join(store, dataset.rows(1), dataset.tars[1])
    store.close()
    with pytest.raises(ShardStale, match="has 8 rows, its tar has 9"):
        open_canvases(canvases, NAME, 9)


def test_a_store_that_is_not_finished_is_not_there(canvases: Cache, dataset: Dataset) -> None:
    other = "train-000009.zarr.zip"
    with pytest.raises(OSError, match="disk"), new_canvases(canvases, other) as writer:
        writer.add([encode_canvas(np.zeros((SIZE, SIZE, 3), np.uint8))])
        raise OSError("disk")
    with pytest.raises(ValueError, match="0 canvases, 1 keys"), new_canvases(canvases, other) as writer:
        writer.finish(["a"], np.zeros(1, np.uint8), np.zeros((1, 32), np.uint8), {})
    assert [path.name for path in canvases.folder.iterdir() if "000009" in path.name] == []
    with pytest.raises(ShardMissing, match="does not exist"):
        open_canvases(canvases, other)


def test_maps_and_canvases_are_not_taken_for_each_other(canvases: Cache, dataset: Dataset, tmp_path: Path) -> None:
    maps = fill_cache(tmp_path / "maps", dataset)
    with pytest.raises(CacheError, match="holds canvases, not maps"):
        canvases.read(NAME)
    with pytest.raises(CacheError, match="holds maps, not canvases"):
        open_canvases(maps, NAME)
    with pytest.raises(FingerprintMismatch, match="image_size: 32 ≠ 64"):
        create_cache(canvases.folder, dataset.dataset_id, canvas_fingerprint(64, dataset))
    # A store that was moved into the other's folder is refused by what it holds.
    canvases.path(NAME).write_bytes(maps.path(NAME).read_bytes())
    with pytest.raises(ShardCorrupt, match=r"it holds no canvas/zarr\.json"):
        open_canvases(canvases, NAME)


def flip_a_bit(entries: Members) -> None:
    data = bytearray(entries["canvas/c/1/0/0/0"])
    data[100] ^= 1
    entries["canvas/c/1/0/0/0"] = bytes(data)


def blosc_that_says(num_bytes: int) -> bytes:
    header = bytearray(numcodecs.Blosc("zstd", shuffle=2).encode(np.zeros(1000, np.uint8)))
    header[4:8] = num_bytes.to_bytes(4, "little")
    return with_checksum(bytes(header))


def sized(height: int, width: int, colours: int, rows: int = 1) -> Callable[[Members], None]:
    sides = [height, width, colours]
    grid = {"name": "regular", "configuration": {"chunk_shape": [rows, *sides]}}
    return change_json("canvas/zarr.json", shape=[8, *sides], chunk_grid=grid)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flip_a_bit, "canvas/c/1/0/0/0 fails its checksum"),
        (lambda entries: entries.update({"canvas/c/1/0/0/0": b""}), "fails its checksum"),
        (lambda entries: entries.update({"canvas/c/1/0/0/0": blosc_that_says(2**31 - 1)}), "cannot be decoded"),
        (lambda entries: entries.update({"canvas/c/1/0/0/0": with_checksum(b"short")}), "header of blosc"),
        (lambda entries: entries.update({"canvas/c/1/0/0/0": b"x" * 10_000}), "expected 7,198 at most"),
        (lambda entries: entries.pop("canvas/c/1/0/0/0"), "canvas has 7 of 8 chunks"),
        (lambda entries: entries.update({"lare/zarr.json": b"{}"}), "it holds lare/zarr.json"),
        (change_json("canvas/zarr.json", data_type="uint16"), "expected uint8"),
        (change_json("canvas/zarr.json", fill_value=1), "fill_value 1: expected 0"),
        (change_json("canvas/zarr.json", codecs=[{"name": "numcodecs.pickle"}]), "expected bytes, blosc, crc32c"),
        (sized(SIZE, SIZE, 3, rows=8), "which no store has"),
        (sized(SIZE, SIZE, 4), "32 × 32 × 4: expected squares"),
        (sized(SIZE, 96, 1), "32 × 96 × 1: expected squares"),
        (sized(16, 16, 3), "holds canvases of 16 px, cache.json beside it says 32"),
        (sized(30_000, 30_000, 3), "a canvas has 2,700,000,000 bytes: expected 50,331,648 at most"),
        (change_attributes(counts={"ok": -1}), "counts"),
        (change_attributes(format_version=7), "format version 7"),
    ],
)  # fmt: skip
def test_what_is_no_store_of_ours_is_refused(canvases: Cache, change: Callable[[Members], object], words: str) -> None:
    rewrite(canvases.path(NAME), change)
    said = in_little_memory(lambda: read_all(canvases))
    assert said.startswith(("ShardCorrupt: ", "FormatVersionError: ")) and words in said
    assert len(said) < 800


def test_a_chunk_that_lies_elsewhere_is_refused(canvases: Cache) -> None:
    """The directory names a place, and the place another member: what the directory promises is not believed."""
    path = canvases.path(NAME)
    data = path.read_bytes()
    at = data.index(b"canvas/c/1/0/0/0")
    path.write_bytes(data[:at] + b"canvas/c/9/0/0/0" + data[at + 16 :])
    with pytest.raises(ShardCorrupt, match="canvas/c/1/0/0/0 does not lie where the directory has it"):
        read_all(canvases)


def test_a_member_with_more_before_it_is_read_too(canvases: Cache) -> None:
    """Another program's zip may say more of a member than ours does."""
    expected, path = read_all(canvases), canvases.path(NAME)
    with zipfile.ZipFile(path) as source:
        entries = {i.filename: source.read(i) for i in source.infolist()}
    with zipfile.ZipFile(path, "w") as target:
        for name, data in entries.items():
            member = zipfile.ZipInfo(name)
            member.extra = b"\x99\x99" + (60).to_bytes(2, "little") + b"\0" * 60
            target.writestr(member, data)
    np.testing.assert_array_equal(read_all(canvases), expected)


@pytest.mark.parametrize("tail_bytes", [0, 4])
def test_a_member_is_read_alike_in_both_ways(canvases: Cache, tail_bytes: int) -> None:
    with Archive(canvases.path(NAME)) as archive:
        for name in archive.names:
            whole = archive.read(name, 2**20)
            found = archive.read_at_once(name, 2**20, tail_bytes)
            assert found == (whole[: len(whole) - tail_bytes], whole[len(whole) - tail_bytes :])
            with pytest.raises(ValueError, match=f"{len(whole) - 1:,} at most"):
                archive.read_at_once(name, len(whole) - 1, tail_bytes)


def test_a_file_that_ends_inside_a_canvas_is_refused(canvases: Cache) -> None:
    path = canvases.path(NAME)
    with Archive(path) as archive:
        start = archive.size("canvas/c/0/0/0/0") // 2
        os.truncate(path, start)  # after its directory was read
        with pytest.raises(ValueError, match="the file ends inside canvas/c/0/0/0/0"):
            archive.read_at_once("canvas/c/0/0/0/0", 2**20, 4)


def test_a_cache_without_a_size_is_damaged(canvases: Cache) -> None:
    content = json.loads((canvases.folder / "cache.json").read_text())
    del content["fields"]["image_size"]
    store = CanvasStore(canvases.path(NAME))
    store.close()
    with pytest.raises(FingerprintMismatch):
        open_canvases(Cache(canvases.folder, canvases.dataset_id, content["fields"]), NAME)


Say = Callable[..., tuple[int, str]]


@pytest.fixture
def say(canvases: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> Say:
    def call(command: str, *options: str) -> tuple[int, str]:
        places = ["--data", str(dataset.folder), "--cache", str(canvases.folder)]
        return main([command, *places, *options]), capsys.readouterr().out

    return call


def test_status_and_verify_know_canvases(say: Say, canvases: Cache) -> None:
    status, text = say("status")
    assert status == 0 and "4 done" in text and "1 of them rejected" in text
    status, text = say("verify", "--num_workers", "1")
    assert (status, text) == (
        0,
        f"{canvases.folder}: 4 done, 0 missing, 0 stale, 0 damaged stores; 0 problems, 0 warnings\n",
    )
    # The row that was rejected without need is found where the images are decoded again.
    status, text = say("verify", "--num_workers", "1", "--deep")
    assert status == 1 and "has no canvas, and its image can be used" in text and "1 problems" in text


def test_verify_finds_a_flipped_bit_and_deep_finds_other_pixels(say: Say, canvases: Cache, dataset: Dataset) -> None:
    rewrite(canvases.path(NAME), flip_a_bit)
    status, text = say("verify", "--num_workers", "1")
    assert status == 1 and "canvas/c/1/0/0/0 fails its checksum" in text and "1 damaged" in text
    canvas = canvases_of(dataset, 0)[1]
    canvas[0, 0, 0] ^= 1
    rewrite(canvases.path(NAME), lambda entries: entries.update({"canvas/c/1/0/0/0": encode_canvas(canvas)}))
    assert say("verify", "--num_workers", "1")[0] == 0
    status, text = say("verify", "--num_workers", "1", "--deep")
    assert status == 1 and "row 1" in text and "the canvas has other pixels than the image" in text


def test_verify_finds_a_canvas_of_a_rejected_row(say: Say, canvases: Cache, dataset: Dataset) -> None:
    chunk = encode_canvas(canvases_of(dataset, 0)[REJECTED])
    rewrite(canvases.path(NAME), lambda entries: entries.update({f"canvas/c/{REJECTED}/0/0/0": chunk}))
    status, text = say("verify", "--num_workers", "1")
    assert status == 1 and f"row {REJECTED}" in text and "is rejected, but has a canvas" in text


def test_info_tells_what_canvases_take(canvases: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (canvases.folder, canvases.path(NAME)):
        assert main(["info", str(place)]) == 0
        text = capsys.readouterr().out
        assert "×32×32×3 uint8, chunks 1×32×32×3" in text and "a canvas, 3,072 raw" in text
    assert f"rejected row {REJECTED}" in text and "a test" in text


def test_canvases_cannot_be_derived_from(canvases: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive", "--cache", str(canvases.folder), "--out", str(tmp_path / "out"), "--num_workers", "1"]) == 1
    assert "holds canvases, not maps" in capsys.readouterr().err


def test_another_dataset_is_refused(canvases: Cache, dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match="belongs to dataset"):
        create_cache(canvases.folder, "f" * 64, canvas_fingerprint(SIZE, dataset))
    assert open_cache(canvases.folder).has_canvases


def test_attributes_are_found_without_the_directory(
    canvases: Cache, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of canvases has thousands of members, and `status` reads the attributes of every store."""
    maps = fill_cache(tmp_path / "maps", dataset)
    expected = [(cache, name, cache.attributes(name)) for cache in (maps, canvases) for name in cache.shards()]
    slow: list[object] = []
    monkeypatch.setattr("cache_schema.store.Archive", slow.append)
    for cache, name, attributes in expected:
        assert cache.attributes(name) == attributes and attributes["tar"] == name.replace(".zarr.zip", ".tar")
    assert slow == []
    monkeypatch.undo()
    rewrite(canvases.path(NAME), lambda entries: entries.update({"zz": b"last"}))
    rewrite(maps.path(NAME), lambda entries: None)
    assert canvases.attributes(NAME)["tar"] == maps.attributes(NAME)["tar"] == "train-000000.tar"


def test_a_flipped_bit_of_the_attributes_is_found(canvases: Cache) -> None:
    path = canvases.path(NAME)
    data = bytearray(path.read_bytes())
    data[data.index(b"rows_sha256") + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardCorrupt, match=r"zarr\.json fails its checksum"):
        canvases.attributes(NAME)
