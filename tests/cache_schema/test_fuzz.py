"""Hostile keys, dataset folders, caches and stores: read as they were written, or one CacheError says why."""

import io
import json
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_schema import CacheError, Dataset, Fingerprint, ShardCorrupt, ShardData, Status, open_cache
from cache_schema.index import INDEX_SCHEMA
from cache_schema.keys import sample_key, source_path
from cache_schema.store import read_attributes, read_store, write_store
from tests.hostile import NOT_JSON, REPEATABLE, damaged, mutated

FIELDS = {"timestep": 261, "method": "lare"}
CACHE = {
    "format_version": 1,
    "dataset_id": "d",
    "fields": FIELDS,
    "fingerprint": Fingerprint(FIELDS).hexdigest,
}
TAR = {"name": "train-000000.tar", "num_rows": 1, "num_bytes": 10240, "rows_sha256": "0" * 64}
DATASET = {"format_version": 1, "dataset_id": "d", "tars": [TAR], "counts": {"train": {"real": 1}}, "settings": {}}
SHARD = ShardData(
    keys=["a", "b"],
    lare=np.ones((2, 4, 2, 2), np.float16),
    status=np.full(2, Status.OK, np.uint8),
    image_sha256=np.ones((2, 32), np.uint8),
    attributes={"tar": "train-000000.tar"},
)


def index_bytes() -> bytes:
    row = {
        field.name: None if field.nullable else 1 if pa.types.is_integer(field.type) else "x" for field in INDEX_SCHEMA
    }
    row |= {"tar": TAR["name"], "row": 0, "split": "train", "sha256": "0" * 64}
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], INDEX_SCHEMA), buffer, write_page_checksum=True)
    return buffer.getvalue()


INDEX = index_bytes()


def write_dataset(folder: Path, manifest: bytes, index: bytes = INDEX) -> None:
    (folder / "dataset.json").write_bytes(manifest)
    (folder / "index.parquet").write_bytes(index)


def check_one_sentence(error: CacheError) -> None:
    assert 0 < len(str(error)) < 2000


@pytest.mark.slow
@REPEATABLE
@given(st.text(max_size=30), st.text(max_size=30))
def test_keys_are_one_to_one_and_reversible(one: str, other: str) -> None:
    keys = []
    for path in (one, other):
        try:
            keys.append(sample_key(path))
        except ValueError:
            return
        assert source_path(keys[-1]) == unicodedata.normalize("NFC", path)
    assert (keys[0] == keys[1]) == (unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other))


@pytest.mark.slow
@REPEATABLE
@given(mutated(DATASET).map(lambda content: json.dumps(content).encode()) | NOT_JSON)
def test_a_hostile_dataset_json_opens_or_is_refused(tmp_path: Path, manifest: bytes) -> None:
    write_dataset(tmp_path, manifest)
    try:
        dataset = Dataset.open(tmp_path)
        assert len(dataset.table()) == sum(tar.num_rows for tar in dataset.tars)
    except CacheError as error:
        check_one_sentence(error)


@pytest.mark.slow
@REPEATABLE
@given(damaged(INDEX))
def test_a_damaged_index_is_read_as_it_was_or_refused(tmp_path: Path, index: bytes) -> None:
    write_dataset(tmp_path, json.dumps(DATASET).encode(), index)
    try:
        assert Dataset.open(tmp_path).table().num_rows == 1
    except CacheError as error:
        check_one_sentence(error)


@pytest.mark.slow
@REPEATABLE
@given(mutated(CACHE).map(lambda content: json.dumps(content).encode()) | NOT_JSON)
def test_a_hostile_cache_json_opens_or_is_refused(tmp_path: Path, manifest: bytes) -> None:
    (tmp_path / "cache.json").write_bytes(manifest)
    try:
        assert open_cache(tmp_path).fields == FIELDS
    except CacheError as error:
        check_one_sentence(error)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("store") / "train-000000.zarr.zip"
    write_store(path, SHARD, "f")
    return path.read_bytes()


@pytest.mark.slow
@REPEATABLE
@given(data=st.data())
def test_a_damaged_store_is_read_as_it_was_or_refused(tmp_path: Path, store: bytes, data: st.DataObject) -> None:
    (tmp_path / "s.zip").write_bytes(data.draw(damaged(store)))
    for read in (read_attributes, read_store):
        try:
            found: Any = read(tmp_path / "s.zip")
        except CacheError as error:
            check_one_sentence(error)
            continue
        if isinstance(found, ShardData):
            assert found.keys == SHARD.keys and np.array_equal(found.lare, SHARD.lare)


@pytest.mark.parametrize("name", ["dataset.json", "cache.json"])
@pytest.mark.parametrize("content", [b"[" * 100_000, None], ids=["nested", "folder"])
def test_a_manifest_that_is_nested_without_end_or_a_folder_is_refused(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(CacheError, match=f"{name} cannot be read"):
        Dataset.open(tmp_path) if name == "dataset.json" else open_cache(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("num_rows", "1"), ("num_rows", True), ("num_bytes", None), ("name", 5)])
def test_a_tar_entry_of_another_kind_is_refused(tmp_path: Path, name: str, value: object) -> None:
    write_dataset(tmp_path, json.dumps(DATASET | {"tars": [TAR | {name: value}]}).encode())
    with pytest.raises(CacheError, match=rf"{name} is '{value}': expected"):
        Dataset.open(tmp_path)


def test_fields_without_names_are_refused(tmp_path: Path) -> None:
    content = CACHE | {"fields": [], "fingerprint": Fingerprint({}).hexdigest}
    (tmp_path / "cache.json").write_text(json.dumps(content))
    with pytest.raises(CacheError, match="expected fields by their names"):
        open_cache(tmp_path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["nested", "bomb"])
def test_a_store_whose_attributes_are_nested_or_a_bomb_is_damaged(tmp_path: Path, compression: int) -> None:
    content = b"[" * 100_000 if compression == zipfile.ZIP_STORED else b" " * 10_000_000
    with zipfile.ZipFile(tmp_path / "s.zip", "w", compression) as archive:
        archive.writestr("zarr.json", content)
    for read in (read_attributes, read_store):
        with pytest.raises(ShardCorrupt, match=r"recursion|without compression"):
            read(tmp_path / "s.zip")


def test_a_compressed_chunk_in_a_store_is_damage(tmp_path: Path, store: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(store)) as whole, zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for name in whole.namelist():
            packed = zipfile.ZIP_DEFLATED if name.startswith("lare/c") else zipfile.ZIP_STORED
            archive.writestr(name, whole.read(name), packed)
    with pytest.raises(ShardCorrupt, match="lare/c/0/0/0/0 is compressed"):
        read_store(tmp_path / "s.zip")
