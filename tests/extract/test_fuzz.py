"""Hostile tables and annotation files: rows as they were written, or one ValueError that names the file."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.tables.annotation import read_annotation_lines
from extract.tables.table import read_table
from tests.hostile import NOT_JSON, REPEATABLE, damaged

CSV = b'path,label,image_source,split\nreal/a.png,0,,train\n"fake/b, c.png",1,sdv5,test\n'
PATHS = ["real/a.png", "fake/b.png"]
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).map(str.strip).filter(bool)


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"path": PATHS, "label": [0, 1]}), buffer)
    return buffer.getvalue()


@pytest.mark.slow
@REPEATABLE
@given(st.lists(st.tuples(TEXT, st.sampled_from([0, 1])), max_size=5))
def test_an_annotation_file_is_read_as_it_was_written(tmp_path: Path, rows: list[tuple[str, int]]) -> None:
    src = tmp_path / "list.txt"
    src.write_text("".join(f"{path}\t{label}\n" for path, label in rows), encoding="utf-8")
    assert [(path, label) for _, path, label in read_annotation_lines(src)] == rows


@pytest.mark.slow
@REPEATABLE
@given(st.binary(max_size=200) | damaged(b"real/a.png\t0\nfake/b.png 1\n") | NOT_JSON)
def test_a_hostile_annotation_file_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    src = tmp_path / "list.txt"
    src.write_bytes(data)
    try:
        for _, path, label in read_annotation_lines(src):
            assert path and label in (0, 1)
    except ValueError as error:
        assert str(src) in str(error)


@pytest.mark.slow
@REPEATABLE
@pytest.mark.parametrize(("suffix", "whole"), [("csv", CSV), ("parquet", parquet())], ids=["csv", "parquet"])
@given(data=st.data())
def test_a_hostile_table_is_read_or_refused(tmp_path: Path, suffix: str, whole: bytes, data: st.DataObject) -> None:
    src = tmp_path / f"table.{suffix}"
    src.write_bytes(data.draw(damaged(whole) | NOT_JSON))
    try:
        for place, row in read_table(src):
            assert place and {"path", "label"} <= set(row)
    except ValueError as error:
        assert str(src) in str(error)


@pytest.mark.parametrize("column", ["path", "subset"])
def test_a_column_of_a_parquet_file_whose_name_is_not_utf_8_is_refused(tmp_path: Path, column: str) -> None:
    src = tmp_path / "table.parquet"
    pq.write_table(pa.table({"path": PATHS, "label": [0, 1], "subset": ["a", "b"]}), src, store_schema=False)
    src.write_bytes(src.read_bytes().replace(column.encode(), b"\xf0" + column.encode()[1:]))
    with pytest.raises(ValueError, match=r"table.parquet cannot be read as a table: .*utf-8"):
        list(read_table(src))


def test_a_value_of_a_parquet_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    src = tmp_path / "table.parquet"
    table = pa.table({"path": PATHS, "label": [0, 1], "subset": ["a", "seven"]})
    pq.write_table(table, src, compression="none", use_dictionary=False)
    src.write_bytes(src.read_bytes().replace(b"seven", b"\xf0even"))
    with pytest.raises(ValueError, match=r"table.parquet cannot be read as a table: .*utf-8"):
        list(read_table(src))
