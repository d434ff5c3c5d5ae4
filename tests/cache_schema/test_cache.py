import dataclasses
import json
import multiprocessing
import os
import random
import resource
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache_schema import (
    Cache,
    CacheError,
    Dataset,
    DatasetError,
    Fingerprint,
    FingerprintMismatch,
    FormatVersionError,
    ShardCorrupt,
    ShardMissing,
    ShardStale,
    Status,
    check_join,
    create_cache,
    fits_stored,
    open_cache,
    store_name,
    write_dataset,
)
from cache_schema.store import round_mantissa
from tests.cache_schema.conftest import FIELDS, NAME, rewrite
from tests.samples import make_sample, make_shard


def test_round_trip_keeps_float16_values(cache: Cache, dataset: Dataset) -> None:
    shard = open_cache(cache.folder).read(NAME)
    expected = make_shard(dataset.rows(0), dataset.tars[0])
    assert shard.keys == expected.keys
    assert shard.lare.dtype == np.float16 and np.array_equal(shard.lare, expected.lare.astype(np.float16))
    assert np.array_equal(shard.status, expected.status) and np.array_equal(shard.image_sha256, expected.image_sha256)
    assert shard.attributes["counts"] == {"ok": 8} and shard.attributes["fingerprint"] == cache.fingerprint
    check_join(shard, dataset.rows(0), dataset.tars[0])


def test_others_read_a_store_with_zarr_alone(cache: Cache) -> None:
    with zarr.storage.ZipStore(cache.folder / NAME, mode="r") as store:
        group = zarr.open_group(store, mode="r")
        assert group["lare"].metadata.dimension_names == ("sample", "channel", "y", "x")
        assert group["lare"][:].shape == (8, 4, 8, 8)
        assert group["key"][:].tolist()[1] == "toy/1%2Epng"
        names = [c.to_dict()["name"] for c in group["lare"].metadata.codecs]
    assert names == ["bytes", "blosc", "crc32c"]
    assert {i.compress_type for i in zipfile.ZipFile(cache.folder / NAME).infolist()} == {zipfile.ZIP_STORED}


def test_chunks_are_64_rows_of_at_most_a_mebibyte(dataset: Dataset, tmp_path: Path) -> None:
    many = write_dataset(tmp_path / "many", (make_sample(i) for i in range(130)), {})
    cache = create_cache(tmp_path / "c", many.dataset_id, Fingerprint({**FIELDS, "stored_dtype": "float32"}))
    for shape, rows in (((4, 8, 8), 64), ((4, 100, 100), 6)):
        cache.write(NAME, make_shard(many.rows(0), many.tars[0], shape))
        with zarr.storage.ZipStore(cache.folder / NAME, mode="r") as store:
            assert zarr.open_group(store, mode="r")["lare"].chunks == (rows, *shape)
        assert len(cache.read(NAME).lare) == 130


@pytest.mark.parametrize(("bits", "share"), [(10, 0.345), (7, 0.27)])
def test_a_store_is_a_fraction_of_as_many_pt_files(dataset: Dataset, tmp_path: Path, bits: int, share: float) -> None:
    many = write_dataset(tmp_path / "many", (make_sample(i, size_px=1) for i in range(256)), {})
    cache = create_cache(tmp_path / "c", many.dataset_id, Fingerprint({**FIELDS, "mantissa_bits": bits}))
    path = cache.write(NAME, make_shard(many.rows(0), many.tars[0], (4, 32, 32)))
    assert path.stat().st_size / 256 <= share * 20_480  # what a .pt file of such a map takes on a disk


def test_mantissa_bits_round_before_storing(dataset: Dataset, tmp_path: Path) -> None:
    cache = create_cache(tmp_path / "c", dataset.dataset_id, Fingerprint({**FIELDS, "mantissa_bits": 3}))
    shard = make_shard(dataset.rows(0), dataset.tars[0])
    shard.lare[0, 0, 0, :3] = [1.0 + 1 / 8, 1.0 + 1 / 16 + 1 / 64, 3.0]
    cache.write(NAME, shard)
    stored = cache.read(NAME).lare
    assert stored[0, 0, 0, :3].tolist() == [1.125, 1.125, 3.0]
    assert (stored.view(np.uint16) & 0x7F == 0).all()


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 10), ("float16", 7), ("float16", 1), ("float32", 22)])
def test_rounding_keeps_what_is_not_finite(dtype: str, bits: int) -> None:
    # 0x7fffffff is what a GPU writes for NaN; numpy's is 0x7fc00000.
    nans = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7FC00000], np.uint32).view(np.float32)
    lare = np.concatenate([nans, np.array([np.inf, -np.inf, 1.0, -0.0], np.float32)]).reshape(1, 2, 2, 2)
    before = lare.copy()
    stored = round_mantissa(lare, dtype, bits).ravel()
    assert stored.dtype == dtype and np.isnan(stored[:4]).all()
    assert stored[4:].tolist() == [np.inf, -np.inf, 1.0, -0.0]
    assert np.array_equal(lare.view(np.uint32), before.view(np.uint32))


@pytest.mark.parametrize(
    ("value", "dtype", "bits", "fits"),
    [
        (65504.0, "float16", 10, True),
        (65520.0, "float16", 10, False),  # halfway to the next: rounds to infinity
        (65504.0, "float16", 7, False),  # rounds up to 65536
        (65024.0, "float16", 7, True),
        (65504.0, "float32", 7, True),
        (3.4e38, "float32", 2, False),
        (np.nan, "float32", 23, False),
    ],
)
def test_a_map_fits_if_it_is_finite_once_rounded(value: float, dtype: str, bits: int, fits: bool) -> None:
    lare = np.ones((2, 1, 2, 2), np.float32)
    lare[1, 0, 1, 0] = value
    assert fits_stored(lare, dtype, bits).tolist() == [True, fits]


def test_rejected_rows_are_nan_with_a_status(cache: Cache, dataset: Dataset) -> None:
    shard = make_shard(dataset.rows(0), dataset.tars[0])
    shard.lare[3], shard.status[3] = np.nan, Status.UNREADABLE
    cache.write(NAME, shard)
    read = cache.read(NAME)
    assert np.isnan(read.lare[3]).all() and read.attributes["counts"] == {"ok": 7, "unreadable": 1}


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_value_that_cannot_be_stored_in_an_ok_row_is_refused(cache: Cache, dataset: Dataset, value: float) -> None:
    shard = make_shard(dataset.rows(0), dataset.tars[0])
    shard.lare[5, 1, 2, 3] = value
    before = (cache.folder / NAME).read_bytes()
    with pytest.raises(ValueError, match=r"row 5 \(toy/5%2Epng\) is marked ok, but its map is not finite"):
        cache.write(NAME, shard)
    assert (cache.folder / NAME).read_bytes() == before
    assert not list(cache.folder.glob("*.tmp")) and not list(cache.folder.glob(".*.tmp"))


def test_unwritten_and_repeated_rows_are_refused(cache: Cache, dataset: Dataset) -> None:
    shard = make_shard(dataset.rows(0), dataset.tars[0])
    shard.status[2] = Status.MISSING
    with pytest.raises(ValueError, match="row 2 was never written"):
        cache.write(NAME, shard)
    shard = make_shard(dataset.rows(0), dataset.tars[0])
    with pytest.raises(ValueError, match="stands in two rows"):
        cache.write(NAME, dataclasses.replace(shard, keys=[shard.keys[0]] * 8))
    with pytest.raises(ValueError, match="7 keys"):
        cache.write(NAME, dataclasses.replace(shard, keys=shard.keys[:7]))


def test_missing_store_is_named(cache: Cache) -> None:
    (cache.folder / NAME).unlink()
    with pytest.raises(ShardMissing, match="train-000000"):
        cache.read(NAME)
    assert not cache.has(NAME) and NAME not in cache.shards()


def test_store_name_cannot_point_outside(cache: Cache) -> None:
    with pytest.raises(ValueError, match="no tar name"):
        cache.read("../train-000000.zarr.zip")


def test_truncated_and_emptied_stores_are_caught(cache: Cache) -> None:
    path = cache.folder / NAME
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-1], b"not a zip at all" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ShardCorrupt, match="is damaged"):
            cache.read(NAME)


def test_flipped_bits_are_caught_anywhere(cache: Cache) -> None:
    path = cache.folder / NAME
    whole = path.read_bytes()
    expected = cache.read(NAME)
    rng = random.Random(0)
    for _ in range(200):
        bit = rng.randrange(len(whole) * 8)
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            read = cache.read(NAME)
        except CacheError:
            continue
        # A bit that carries no data (a date in the zip, say) may flip; the arrays then are what they were.
        assert np.array_equal(read.lare, expected.lare) and read.keys == expected.keys
        assert np.array_equal(read.image_sha256, expected.image_sha256) and read.attributes == expected.attributes


def test_deleted_chunk_is_caught(cache: Cache) -> None:
    path = cache.folder / NAME
    whole = path.read_bytes()
    for name in ("lare/c/0/0/0/0", "status/c/0", "key/zarr.json", "zarr.json"):
        path.write_bytes(whole)
        rewrite(path, lambda entries, name=name: entries.pop(name))
        with pytest.raises(ShardCorrupt, match="is damaged"):
            cache.read(NAME)


def set_version_7(entries: dict[str, bytes]) -> None:
    entries["zarr.json"] = entries["zarr.json"].replace(b'"format_version": 1', b'"format_version": 7')


def test_other_format_version_is_named(cache: Cache) -> None:
    rewrite(cache.folder / NAME, set_version_7)
    with pytest.raises(FormatVersionError, match="format version 7"):
        cache.read(NAME)
    manifest = cache.folder / "cache.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 1', '"format_version": 7'))
    with pytest.raises(FormatVersionError, match=r"cache\.json has format version 7"):
        open_cache(cache.folder)


def test_other_settings_are_refused_with_the_difference(cache: Cache) -> None:
    with pytest.raises(FingerprintMismatch, match="timestep: 200 ≠ 261"):
        create_cache(cache.folder, cache.dataset_id, Fingerprint({**FIELDS, "timestep": 261}))
    assert open_cache(cache.folder).fields == FIELDS


def test_other_dataset_is_refused(cache: Cache) -> None:
    with pytest.raises(DatasetError, match="belongs to dataset"):
        create_cache(cache.folder, "another", Fingerprint(FIELDS))


def test_store_of_another_cache_is_refused(cache: Cache, dataset: Dataset, tmp_path: Path) -> None:
    other = create_cache(tmp_path / "other", dataset.dataset_id, Fingerprint({**FIELDS, "timestep": 261}))
    other.write(NAME, make_shard(dataset.rows(0), dataset.tars[0]))
    shutil.copy(other.folder / NAME, cache.folder / NAME)
    with pytest.raises(FingerprintMismatch, match="was made with settings"):
        cache.read(NAME)


def test_edited_manifest_is_refused(cache: Cache) -> None:
    path = cache.folder / "cache.json"
    path.write_text(path.read_text().replace("200", "261"))
    with pytest.raises(FingerprintMismatch, match="was edited"):
        open_cache(cache.folder)
    path.write_text("{")
    with pytest.raises(CacheError, match="cannot be read"):
        open_cache(cache.folder)
    path.unlink()
    with pytest.raises(CacheError, match="is no cache"):
        open_cache(cache.folder)


def test_join_refuses_what_does_not_belong_together(cache: Cache, dataset: Dataset) -> None:
    shard, rows, entry = cache.read(NAME), dataset.rows(0), dataset.tars[0]
    with pytest.raises(ShardStale, match="the store has 8 rows, the index 7"):
        check_join(shard, rows.slice(0, 7), entry)
    with pytest.raises(ShardStale, match="row 0: the store has 'real/0%2Epng', the index 'toy/1%2Epng'"):
        check_join(shard, rows.take([1, 0, *range(2, 8)]), entry)
    changed = shard.image_sha256.copy()
    changed[4, 0] ^= 1
    with pytest.raises(ShardStale, match=r"row 4 \(real/4%2Epng\): another image"):
        check_join(dataclasses.replace(shard, image_sha256=changed), rows, entry)
    with pytest.raises(ShardStale, match="rows hash to"):
        check_join(shard, rows, dataclasses.replace(entry, rows_sha256="0" * 64))


def _create(folder: Path) -> str:
    return create_cache(folder, "d", Fingerprint(FIELDS)).fingerprint


def test_many_processes_make_one_cache(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert set(pool.map(_create, [tmp_path / "c"] * 16)) == {Fingerprint(FIELDS).hexdigest}
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["cache.json"]


def test_public_names_exist() -> None:
    import cache_schema

    assert all(hasattr(cache_schema, name) for name in cache_schema.__all__)
    assert json.dumps(sorted(cache_schema.__all__)) == json.dumps(sorted(set(cache_schema.__all__)))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_full_disk_leaves_the_store_that_was_there(cache: Cache, dataset: Dataset, share: float) -> None:
    before = (cache.folder / NAME).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files fails as a full disk does, with EFBIG in ENOSPC's place.
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * len(before)), limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            cache.write(NAME, make_shard(dataset.rows(0), dataset.tars[0], seed=9))
        if share == 0:
            with pytest.raises(OSError, match="File too large"):
                create_cache(cache.folder.with_name("new"), "d", Fingerprint(FIELDS))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (cache.folder / NAME).read_bytes() == before
    assert sorted(p.name for p in cache.folder.iterdir()) == ["cache.json", *cache.shards()]


def test_an_empty_cache_takes_new_settings_and_says_so(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = create_cache(tmp_path / "c", dataset.dataset_id, Fingerprint(FIELDS))
    new = create_cache(tmp_path / "c", dataset.dataset_id, Fingerprint({**FIELDS, "timestep": 261}))
    assert open_cache(tmp_path / "c").fields["timestep"] == new.fields["timestep"] == 261
    assert "holds no store yet: it takes the new settings (before ≠ now: timestep: 200 ≠ 261)" in caplog.text
    entry = dataset.tars[0]
    shard = make_shard(dataset.rows(0), entry)
    with pytest.raises(FingerprintMismatch, match="has taken other settings while it was empty"):
        old.write(store_name(entry.name), shard)
    assert new.shards() == []
    assert create_cache(tmp_path / "c", "another", Fingerprint(FIELDS)).dataset_id == "another"
    create_cache(tmp_path / "c", dataset.dataset_id, new_fields := Fingerprint(new.fields))
    new.write(store_name(entry.name), shard)
    for identity, fields in ((dataset.dataset_id, Fingerprint(FIELDS)), ("another", new_fields)):
        with pytest.raises((FingerprintMismatch, DatasetError)):
            create_cache(tmp_path / "c", identity, fields)


def test_an_empty_cache_that_is_being_filled_keeps_its_settings(dataset: Dataset, tmp_path: Path) -> None:
    create_cache(tmp_path / "c", dataset.dataset_id, Fingerprint(FIELDS))
    other = Fingerprint({**FIELDS, "timestep": 261})
    with pytest.raises(FingerprintMismatch):
        create_cache(tmp_path / "c", dataset.dataset_id, other, in_use=True)
    writing = tmp_path / "c" / f".train-000000.zarr.zip.{'0' * 32}.tmp"
    writing.touch()
    with pytest.raises(FingerprintMismatch):
        create_cache(tmp_path / "c", dataset.dataset_id, other)
    os.utime(writing, (0, 0))  # of a run that was killed
    create_cache(tmp_path / "c", dataset.dataset_id, other)
