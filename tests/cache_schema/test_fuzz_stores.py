"""Hostile stores, tars and manifests that are whole otherwise, in bounded memory: read, or refused in a sentence."""

import io
import json
import resource
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema import CacheError, Dataset, Fingerprint, ShardData, open_cache, write_dataset
from cache_schema.info import describe
from cache_schema.report import shard_reports, summarize
from cache_schema.store import read_attributes, read_store, write_store
from cache_schema.tar_members import read_members
from cache_schema.verify import verify_tar
from tests.cache_schema.conftest import FIELDS, NAME, fill_cache
from tests.cache_schema.test_fuzz import SHARD, check_one_sentence
from tests.hostile import NOT_JSON, REPEATABLE, damaged, mutated
from tests.samples import make_sample

FEW = settings(REPEATABLE, max_examples=150)
MEMORY_BYTES = 2**30
"""What all examples of a test may take together, above what the process has."""
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _in_bounded_memory() -> Iterator[None]:
    """Whoever allocates by a number that a file tells gets a MemoryError, which no test here expects."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("store") / NAME
    write_store(path, SHARD, "f")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def read_or_refuse(path: Path) -> None:
    """Read the store in all ways; what is read has rows that fit together, what is not is one sentence."""
    for read in (read_attributes, read_store, describe):
        try:
            found: Any = read(path)
        except CacheError as error:
            check_one_sentence(error)
            assert str(error).isprintable()
            continue
        if isinstance(found, ShardData):
            found.check()
            assert found.lare.nbytes < 2**20
        elif isinstance(found, str):
            assert all(line.isprintable() for line in found.splitlines())


@FEW
@given(data=st.data())
def test_a_store_with_one_value_of_its_metadata_changed(
    tmp_path: Path, members: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([name for name in members if name.endswith("json")]))
    content = data.draw(mutated(json.loads(members[name])).map(lambda c: json.dumps(c).encode()) | NOT_JSON)
    write_members(tmp_path / NAME, members | {name: content})
    read_or_refuse(tmp_path / NAME)


@FEW
@given(data=st.data())
def test_a_store_with_a_damaged_chunk_and_its_right_checksum(
    tmp_path: Path, members: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([name for name in members if not name.endswith("json")]))
    chunk = data.draw(damaged(members[name][:-4]) | st.binary(max_size=100))
    chunk += struct.pack("<I", google_crc32c.value(chunk))
    write_members(tmp_path / NAME, members | {name: chunk})
    read_or_refuse(tmp_path / NAME)


@FEW
@given(data=st.data())
def test_a_store_with_other_members(tmp_path: Path, members: dict[str, bytes], data: st.DataObject) -> None:
    names = st.sampled_from([*members, ".zgroup", "lare/.zarray", "lare/c/1/0/0/0", "../x", "\x1b[2J", "x" * 60_000])
    changed = dict(members)
    changed.pop(data.draw(st.sampled_from(["", *members])), None)
    changed |= data.draw(st.dictionaries(names, st.binary(max_size=20), max_size=3))
    write_members(tmp_path / NAME, changed)
    read_or_refuse(tmp_path / NAME)


@FEW
@given(data=st.data())
def test_a_store_whose_directory_is_damaged(tmp_path: Path, members: dict[str, bytes], data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    whole = buffer.getvalue()
    start = whole.index(b"PK\1\2")
    (tmp_path / NAME).write_bytes(whole[:start] + data.draw(damaged(whole[start:])))
    read_or_refuse(tmp_path / NAME)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two tars with its cache."""
    folder = tmp_path_factory.mktemp("place")
    samples = [make_sample(i, size_px=2, source_path=f"{'é' * 60}/{i}.png") for i in range(4)]
    fill_cache(folder / "cache", write_dataset(folder / "data", samples, {}, max_rows=2))
    return folder


def check_place(place: Path) -> None:
    """Status and verify tell, whatever lies there."""
    try:
        dataset, cache = Dataset.open(place / "data"), open_cache(place / "cache")
        assert all(dataset.rows(n).num_rows == tar.num_rows for n, tar in enumerate(dataset.tars))
    except CacheError as error:
        check_one_sentence(error)
        return
    json.dumps(summarize(cache, shard_reports(cache, dataset)))
    for n in range(len(dataset.tars)):
        assert all(line.isprintable() for line in verify_tar(cache, dataset, n, True).problems)


@FEW
@given(data=st.data())
@pytest.mark.parametrize("name", ["data/train-000000.tar", "data/index.parquet", f"cache/{NAME}"])
def test_a_damaged_file_stops_neither_status_nor_verify(place: Path, name: str, data: st.DataObject) -> None:
    whole = (place / name).read_bytes()
    try:
        (place / name).write_bytes(data.draw(damaged(whole) | st.binary(max_size=2000)))
        check_place(place)
    finally:
        (place / name).write_bytes(whole)


def with_right_fingerprint(content: dict[str, Any]) -> dict[str, Any]:
    """Whoever changes the fields of a cache hashes them again."""
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        content["fingerprint"] = Fingerprint(content["fields"]).hexdigest
    return content


@FEW
@given(data=st.data())
@pytest.mark.parametrize("name", ["data/dataset.json", "cache/cache.json"])
def test_a_changed_manifest_stops_neither_status_nor_verify(place: Path, name: str, data: st.DataObject) -> None:
    whole = (place / name).read_bytes()
    try:
        changed = (
            mutated(json.loads(whole)).map(with_right_fingerprint).map(lambda content: json.dumps(content).encode())
        )
        (place / name).write_bytes(data.draw(changed | NOT_JSON))
        check_place(place)
    finally:
        (place / name).write_bytes(whole)


@FEW
@given(data=st.data())
def test_an_index_with_a_damaged_page_or_footer(place: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Without the checksums that find most of it."""
    dataset = Dataset.open(place / "data")
    pq.write_table(dataset.table(), tmp_path / "index.parquet", row_group_size=2, compression="none")
    (tmp_path / "index.parquet").write_bytes(data.draw(damaged((tmp_path / "index.parquet").read_bytes())))
    (tmp_path / "dataset.json").write_bytes((place / "data" / "dataset.json").read_bytes())
    try:
        assert Dataset.open(tmp_path).table().num_rows == 4
    except CacheError as error:
        check_one_sentence(error)


HEADERS = st.builds(
    lambda name, size, kind, fields, link: (name, size, kind, fields, link),
    st.text(max_size=120),
    st.sampled_from([0, 1, 511, 512, 513, 10_000, 2**33, 2**62]),
    st.sampled_from([b"0", b"\0", b"1", b"2", b"5", b"6", b"7", b"x", b"g", b"L", b"S", b"V"]),
    st.dictionaries(
        st.sampled_from(["path", "size", "linkpath", "GNU.sparse.map", "é"]), st.text(max_size=50), max_size=2
    ),
    st.text(max_size=20),
)


@FEW
@given(headers=st.lists(HEADERS, max_size=5), tail=st.binary(max_size=600))
def test_a_tar_of_any_headers_is_listed_or_refused(tmp_path: Path, headers: list[Any], tail: bytes) -> None:
    blocks = []
    for name, size, kind, fields, link in headers:
        info = tarfile.TarInfo(name)
        info.size, info.type, info.pax_headers, info.linkname = size, kind, fields, link
        try:
            blocks.append(
                info.tobuf(tarfile.PAX_FORMAT if size < 2**33 else tarfile.GNU_FORMAT, errors="surrogateescape")
            )
        except ValueError:
            continue
        blocks.append(bytes(-(-min(size, 10_000) // 512) * 512))
    (tmp_path / "a.tar").write_bytes(b"".join(blocks) + tail)
    try:
        for member in read_members(tmp_path / "a.tar"):
            assert 0 <= member.offset <= member.offset + member.size <= (tmp_path / "a.tar").stat().st_size
    except CacheError as error:
        check_one_sentence(error)


def test_what_is_not_changed_is_read(place: Path, tmp_path: Path, members: dict[str, bytes]) -> None:
    """Otherwise the other tests would pass if everything was refused."""
    write_members(tmp_path / NAME, members)
    found = read_store(tmp_path / NAME)
    assert found.keys == SHARD.keys and np.array_equal(found.lare, SHARD.lare)
    cache, dataset = open_cache(place / "cache"), Dataset.open(place / "data")
    assert cache.fields == FIELDS
    assert [verify_tar(cache, dataset, n, True).problems for n in range(2)] == [(), ()]
