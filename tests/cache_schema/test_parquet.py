"""Parquet files that give more than they hold are refused before memory is taken; nothing in them is run."""

import hashlib
import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache_schema import Dataset, DatasetError, parquet_footer, parquet_pages
from cache_schema.index import INDEX_SCHEMA
from cache_schema.parquet import Footer, check_schema, parse_footer, read_columns
from cache_schema.parquet_pages import check_pages
from cache_schema.thrift import zigzag
from cache_schema.thrift_patterns import decode_varints
from tests.cache_schema.hostile_stores import Marker
from tests.cache_schema.test_hostile_stores import in_little_memory

ROOT = Path(__file__).resolve().parents[2]
TEXT = b"x" * 100


def read(path: Path, *names: str) -> pa.Table:
    with path.open("rb") as file:
        return read_columns(file, parse_footer(file), names)


def write(path: Path, table: pa.Table, **options: Any) -> Path:
    pq.write_table(table, path, compression="zstd", **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dictionary": False},
        {"data_page_version": "2.0"},
        {"row_group_size": 100},
        {"data_page_size": 100, "write_batch_size": 10},
        {"write_page_checksum": True},
        {"store_schema": False},
        {"use_dictionary": False, "column_encoding": {"n": "DELTA_BINARY_PACKED", "t": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"n": "BYTE_STREAM_SPLIT"}},
        {"write_statistics": False},
        {"dictionary_pagesize_limit": 100},
    ],
)
def test_files_of_all_kinds_are_read_as_they_were_written(tmp_path: Path, options: dict[str, Any]) -> None:
    texts = [None if i % 7 == 0 else f"text {i % 50} é" for i in range(1000)]
    columns = {"t": texts, "n": range(1000), "u": ["x" * 1000] * 1000, "l": pa.array(texts, pa.large_string())}
    table = pa.table(columns | {"empty": pa.nulls(1000, pa.string())})
    path = write(tmp_path / "a.parquet", table, **options)
    expected = pq.read_table(path)
    assert read(path, *table.column_names).cast(expected.schema) == expected
    assert read(path, "n", "t") == expected.select(["n", "t"])
    assert read(path, "t")["t"].num_chunks == 1


@pytest.mark.parametrize("groups", [[0], [3], [9, 2], list(range(10)), list(range(20)), []])
def test_row_groups_are_read_alone(tmp_path: Path, groups: list[int]) -> None:
    """pyarrow is told of these groups and no others: its view of a long footer takes a gigabyte."""
    table = pa.table({"t": [f"text {i % 50}" for i in range(1000)], "n": range(1000)})
    path = write(tmp_path / "a.parquet", table, row_group_size=50)
    with path.open("rb") as file:
        footer = parse_footer(file)
        found = read_columns(file, footer, ["n", "t"], groups)
    assert footer.num_rows == 1000 and footer.groups.num_rows.tolist() == [50] * 20
    assert footer.groups.metadata(groups).num_row_groups == len(groups)
    expected = [table.slice(50 * group, 50) for group in groups]
    assert found == pa.concat_tables([table.slice(0, 0), *expected]).select(["n", "t"]).combine_chunks()


def test_places_are_those_that_pyarrow_tells(tmp_path: Path) -> None:
    table = pa.table({"t": [None if i % 3 else f"text {i}" for i in range(1000)], "n": range(1000)})
    for options in ({}, {"write_statistics": False, "use_dictionary": False}, {"write_page_index": True}):
        path = write(tmp_path / "a.parquet", table, row_group_size=70, **options)
        with path.open("rb") as file:
            groups = parse_footer(file).groups
        metadata = pq.read_metadata(path)
        for g in range(metadata.num_row_groups):
            for c in range(2):
                column = metadata.row_group(g).column(c)
                start = column.dictionary_page_offset or column.data_page_offset
                assert groups.places[g, c].tolist() == [start, start + column.total_compressed_size]


NEVER = re.compile(b"(?!)")


def parse_slowly(monkeypatch: pytest.MonkeyPatch, path: Path) -> Footer:
    """The footer, no part of which is matched whole."""
    with monkeypatch.context() as patch, path.open("rb") as file:
        patch.setattr(parquet_footer, "chunk_pattern", lambda: NEVER)
        return parse_footer(file)


def equal_footers(one: Footer, other: Footer) -> bool:
    pairs = ((getattr(each.groups, name) for each in (one, other)) for name in ("num_rows", "places", "_spans"))
    return all(np.array_equal(*pair) for pair in pairs)


WRITERS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"write_page_checksum": True}, True),
    ({"use_dictionary": False}, True),
    ({"use_dictionary": ["n"], "compression": "none"}, True),
    ({"write_statistics": False}, False),
    ({"write_page_index": True}, False),
    ({"data_page_version": "2.0", "write_page_checksum": True}, True),
]
"""Options of a writer, and whether its column chunks are of the usual form."""


@pytest.mark.parametrize(("options", "is_usual"), WRITERS)
def test_usual_column_chunks_are_matched_as_they_would_be_stepped_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], is_usual: bool
) -> None:
    columns = {
        "t": [None if i % 3 else f"text {i}" for i in range(1000)],
        "long": ["x" * (i % 300) for i in range(1000)],
        "n": range(1000),
        "empty": pa.nulls(1000, pa.string()),
        "b": pa.array([i % 2 for i in range(1000)], pa.int8()),
    }
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=70, **options)
    with path.open("rb") as file:
        quick, matched = parse_footer(file), len(count_matches(monkeypatch, file))
        assert equal_footers(quick, parse_slowly(monkeypatch, path))
        assert (matched >= 15 * 4) == is_usual  # texts of more than 127 bytes are stepped through
        # What the pages' headers say is the same too.
        arguments = file, path.stat().st_size, quick.groups.places, range(15), range(5)
        found = check_pages(*arguments)
        monkeypatch.setattr(parquet_pages, "header_pattern", lambda: NEVER)
        assert check_pages(*arguments) == found


def count_matches(monkeypatch: pytest.MonkeyPatch, file: BinaryIO) -> list[object]:
    """Column chunks that were matched whole."""
    pattern, matches = parquet_footer.chunk_pattern(), list[object]()

    class Counting:
        def match(self, data: bytes, at: int) -> object:
            found = pattern.match(data, at)
            matches.extend([found] if found else [])
            return found

    with monkeypatch.context() as patch:
        patch.setattr(parquet_footer, "chunk_pattern", Counting)
        parse_footer(file)
    return matches


def test_the_index_that_we_write_is_of_the_usual_form(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with dataset.index_path.open("rb") as file:
        groups = parse_footer(file).groups
        assert len(count_matches(monkeypatch, file)) == 4 * len(INDEX_SCHEMA)
        for start in groups.places[..., 0].ravel().tolist():
            file.seek(start)
            assert parquet_pages.header_pattern().match(file.read(parquet_pages.USUAL_HEADER_BYTES))


def test_damaged_footers_are_read_alike_by_both_ways(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, rng = dataset.index_path.read_bytes(), random.Random(0)
    footer_bytes = int.from_bytes(data[-8:-4], "little")
    path, num_read = tmp_path / "a.parquet", 0

    def parse(how: Callable[[], Footer]) -> Footer | None:
        try:
            return how()
        except (ValueError, OSError, pa.ArrowException):
            return None

    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 3))):
            damaged[len(data) - 8 - rng.randrange(1, footer_bytes)] = rng.randrange(256)
        path.write_bytes(damaged)
        with path.open("rb") as file:
            quick = parse(partial(parse_footer, file))
        slow = parse(partial(parse_slowly, monkeypatch, path))
        assert (quick is None) == (slow is None)
        assert quick is None or slow is None or equal_footers(quick, slow)
        num_read += quick is not None
    assert 0 < num_read < 200


def test_integers_are_decoded_as_one_by_one() -> None:
    values = [0, -1, 1, 63, -64, 64, 300, -(2**31), 2**61, -(2**61), 2**62 - 1]
    data = b"".join(parquet_footer._varint(value << 1 ^ value >> 63) for value in values)
    assert decode_varints(data).tolist() == values
    at = 0
    for value in values:
        found, at = zigzag(data, at)
        assert found == value
    assert decode_varints(b"").tolist() == []


def test_a_file_without_rows_is_read(tmp_path: Path) -> None:
    table = pa.table({"t": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
    assert read(write(tmp_path / "a.parquet", table), "t", "n") == table


def rows_in_little_room(path: Path) -> None:
    """A hundred million rows of one value."""
    table = pa.table({"t": pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), [TEXT.decode()])})
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(100):
            writer.write_table(pa.concat_tables([table] * 1000).combine_chunks(), row_group_size=10**6)


def shared_text(path: Path) -> None:
    """A text of 10 MB that 3,000 rows share; what pads the file is larger than their number."""
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), ["x" * 10**7])
    table = pa.table({"t": shared, "pad": [hashlib.sha256(b"%d" % i).hexdigest() for i in range(3000)]})
    write(path, table, dictionary_pagesize_limit=2**25, write_statistics=False)


def page_of_zeros(path: Path) -> None:
    """A page that inflates to 600 MB."""
    write(path, pa.table({"t": ["\0" * (6 * 10**8)]}), use_dictionary=False, write_statistics=False)


def shared_beginnings(path: Path) -> None:
    """Texts that each repeat the one before it."""
    table = pa.table({"t": ["x" * 10**6] * 400})
    write(path, table, use_dictionary=False, column_encoding={"t": "DELTA_BYTE_ARRAY"}, write_statistics=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (rows_in_little_room, "rows in"),
        (shared_text, "its texts have 30,000,000,000 bytes"),
        (page_of_zeros, "its pages inflate to more than"),
        (shared_beginnings, "encoding DELTA_BYTE_ARRAY"),
    ],
)
def test_a_small_file_gets_no_more_memory_than_it_can_need(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "a.parquet"
    make(path)
    assert path.stat().st_size < 2 * 10**6
    said = in_little_memory(lambda: read(path, "t").num_rows)
    assert said.startswith("ValueError: ") and words in said


@pytest.mark.slow
def test_no_footer_ends_the_process(tmp_path: Path) -> None:
    """pyarrow's own view of a footer does, in C++: histograms of another length are enough."""
    path = write(tmp_path / "a.parquet", pa.table({"t": ["a", "b"], "n": [0, 1]}))
    whole, rng = path.read_bytes(), random.Random(4)
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for _ in range(900):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(start, len(whole) - 8)] ^= rng.randint(1, 255)
        path.write_bytes(damaged)
        child = os.fork()
        if child == 0:
            with suppress(ValueError, OSError, pa.ArrowException):
                read(path, "t", "n")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop_columns("label"), "column image_source BYTE_ARRAY STRING where label"),
        (lambda table: table.append_column("more", table["key"]), "19 columns: 18 expected"),
        (lambda table: table.set_column(1, "tar", pa.array([["x"]] * len(table))), "several levels"),
        (lambda table: table.set_column(2, "row", table["row"].cast(pa.int64())), "column row INT64"),
        (lambda table: table.set_column(0, "key", table["key"].cast(pa.binary())), "column key BYTE_ARRAY NONE"),
        (lambda table: table.rename_columns(["k\x1b[2J", *table.column_names[1:]]), r"k\x1b[2J BYTE_ARRAY"),
    ],
)
def test_an_index_of_other_columns_is_refused(dataset: Dataset, change: Any, words: str) -> None:
    tables = [dataset.rows(n) for n in range(len(dataset.tars))]
    schema = change(tables[0]).schema
    with pq.ParquetWriter(dataset.index_path, schema) as writer:
        for table in tables:
            writer.write_table(change(table), row_group_size=len(table))
    with pytest.raises(DatasetError) as caught:
        Dataset.open(dataset.folder)
    assert words in str(caught.value)


def test_the_columns_of_an_index_are_those_of_its_schema(dataset: Dataset) -> None:
    metadata = pq.read_metadata(dataset.index_path)
    check_schema(metadata, INDEX_SCHEMA)
    with pytest.raises(ValueError, match="column key BYTE_ARRAY STRING where tar BYTE_ARRAY STRING is expected"):
        check_schema(metadata, INDEX_SCHEMA.remove(0))


def test_a_strangers_dataset_runs_nothing(dataset: Dataset, tmp_path: Path) -> None:
    """Types of columns may be pickles: `arrow.py_extension_type`, which pyarrow has loaded up to version 14."""
    marker = tmp_path / "marker"
    if hasattr(pa, "PyExtensionType"):
        pa.PyExtensionType.set_auto_load(True)
    kind = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Marker(marker))}
    fields = [field.with_metadata(kind) if field.name == "subset" else field for field in INDEX_SCHEMA]
    tables = [dataset.rows(n) for n in range(len(dataset.tars))]
    with pq.ParquetWriter(dataset.index_path, pa.schema(fields)) as writer:
        for table in tables:
            writer.write_table(table.cast(pa.schema(fields)), row_group_size=len(table))
    opened = Dataset.open(dataset.folder)
    assert [opened.rows(n) for n in range(len(opened.tars))] == tables
    assert opened.table().schema == INDEX_SCHEMA
    assert not marker.exists()
    pickle.loads(pickle.dumps(Marker(marker)))
    assert marker.exists()


READING = """
import os, sys
from cache_schema.parquet import parse_footer, read_columns

before = os.listdir("/proc/self/task")
with open(sys.argv[1], "rb") as file:
    table = read_columns(file, parse_footer(file), ["t", "n"])
print(table.num_rows, "rows,", len(os.listdir("/proc/self/task")) - len(before), "threads")
"""


def test_no_thread_of_pyarrow_outlives_the_reading(tmp_path: Path) -> None:
    """Such a thread lets go of Python's bytes later: a program that ended just then aborted, once in a hundred."""
    table = pa.table({"t": [f"text {i}" for i in range(1000)], "n": range(1000)})
    path = write(tmp_path / "a.parquet", table, row_group_size=100)
    command = [sys.executable, "-c", READING, path]
    environment = os.environ | {"JE_ARROW_MALLOC_CONF": "background_thread:false"}  # whose threads need no Python
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "1000 rows, 0 threads\n"
