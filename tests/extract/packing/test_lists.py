"""Tables and annotation files as people's programs write them: read where they are clear, else named by line."""

import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extract.authors.map_files import read_annotation
from extract.packing.layouts import SourceFile
from extract.packing.lists import Layout, list_source
from extract.packing.pack import PackConfig, pack
from extract.tables.labels import parse_label
from tests.extract.packing.test_pack import rejections, rows_of, save

WANTED = {"a.png": 0, "b.png": 1}


def listed(src: Path, layout: Layout = "table", root: Path | None = None) -> dict[str, SourceFile]:
    return {file.path: file for file in list_source(src, layout, root, "mine").files}


def labels(files: Mapping[str, SourceFile]) -> dict[str, int | None]:
    return {path: file.label for path, file in files.items()}


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,0.0\nb.png,1.0\n",
        "path,label\na.png,Real\nb.png,FAKE\n",
        "path,label\na.png, 0\nb.png, 1.\n",
        "path, label\na.png, real\nb.png, generated\n",
        "Path ,LABEL\na.png,0\nb.png,1\n",
        "path;label\na.png;0\nb.png;1\n",
        "sep=;\r\npath;label\r\na.png;0\r\nb.png;1\r\n",
        "path\tlabel\na.png\t0\nb.png\t1\n",
        "path|label\na.png|0\nb.png|1\n",
        "\ufeffpath,label\r\na.png,0\r\nb.png,1\r\n",
        "path,label\ra.png,0\rb.png,1\r",
        "path,label\na.png,0,,\n\n , \nb.png,1\n",
        '"path","label"\n"a.png","0"\n"b.png","1"',
        "path,label\n./a.png,0\n.//b.png,1\n",
    ],
)
def test_clear_forms_of_a_csv_file_are_read_by_packing_and_by_the_import_of_maps(tmp_path: Path, text: str) -> None:
    src = written(tmp_path / "t.csv", text)
    assert labels(listed(src)) == WANTED
    entries = {name: [label for _, label in found] for name, found in read_annotation(src).items()}
    assert entries == {"a.pt": [0], "b.pt": [1]}


@pytest.mark.parametrize(
    "text",
    [
        "a.png 0.0\nb.png 1.0\n",
        "a.png\tReal\nb.png\tfake \n",
        "a.png,0\nb.png;1\n",
        "\ufeffa.png 0\r\n\r\nb.png 1\r\n",
        "a.png 0\rb.png 1",
    ],
)
def test_clear_forms_of_an_annotation_are_read_by_packing_and_by_the_import_of_maps(tmp_path: Path, text: str) -> None:
    src = written(tmp_path / "ann.txt", text)
    assert labels(listed(src, "annotation")) == WANTED
    assert read_annotation(src) == {"a.pt": [("a.png", 0)], "b.pt": [("b.png", 1)]}


@pytest.mark.parametrize("name", ["t.csv", "ann.txt"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_text_with_a_mark_of_its_encoding_is_read(tmp_path: Path, name: str, encoding: str) -> None:
    text = "path,label\né.png,1\n" if name == "t.csv" else "é.png\t1\n"
    src = written(tmp_path / name, text.encode(encoding))
    assert labels(listed(src, "table" if name == "t.csv" else "annotation")) == {"é.png": 1}
    assert list(read_annotation(src)) == ["é.pt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,label\na.png,0\nb.png,true\n",
            "line 3: label of b.png is 'true': expected 0 or real, 1 or fake .true and false may mean",
        ),
        ("path,label\na.png,0\nb.png,-1\n", "line 3: label of b.png is '-1': expected 0 or real, 1 or fake"),
        ("path,label\na.png,0\nb.png,0.5\n", r"line 3: label of b.png is '0\.5'"),
        ("path,label\na.png,0\nb,c.png,1\n", "line 3: expected 2 values as in the header, found 3.* needs quotes"),
        ("path,label\na.png,0\nb.png\n", "line 3: expected 2 values as in the header, found 1"),
        ('path,label,note\na.png,0,"x\ny"\n"b.png,1,\n', r"line 4: cannot be read as a row .* quotes in pairs"),
        ('path,label\na.png,0\n"b"c.png,1\n', r"line 3: cannot be read as a row"),
        ("path,label\na.png,0\n\0,1\n", "line 3: a NUL character, expected text: save the list as UTF-8"),
        ("Path,PATH,label\na.png,a.png,0\n", "has 2 columns 'path': expected one"),
        ("file;label\na.png;0\n", "has no column 'path': expected path, .*, found 'file', 'label'"),
        ("", "has no column 'path': .* found nothing"),
    ],
)
def test_unclear_forms_of_a_csv_file_are_named_alike_by_both(tmp_path: Path, text: str, message: str) -> None:
    src = written(tmp_path / "t.csv", text)
    for read in (listed, read_annotation):
        with pytest.raises(ValueError, match=message):
            read(src)


def test_text_that_is_not_what_its_mark_says_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 1: no UTF-16, which its mark says"):
        listed(written(tmp_path / "ann.txt", b"\xff\xfea"), "annotation")


def test_quoted_columns_with_newlines_are_read_above_a_mebibyte(tmp_path: Path) -> None:
    rows = [f'{i}.png,{i % 2},"a caption\nof two lines, the {i}th{"." * 80}"' for i in range(15_000)]
    src = written(tmp_path / "t.csv", "\n".join(["path,label,caption", *rows]))
    assert src.stat().st_size > 2**20
    assert labels(listed(src)) == {f"{i}.png": i % 2 for i in range(15_000)}
    with src.open("a") as file:
        file.write("\nlast.png,2,x\n")
    with pytest.raises(ValueError, match=r"line 30002: label of last.png is '2'"):
        listed(src)


def test_a_quote_that_is_never_closed_is_named_before_it_fills_the_memory(tmp_path: Path) -> None:
    src = written(tmp_path / "t.csv", 'path,label\n"a.png,0\n' + "b.png,1\n" * 100_000)
    with pytest.raises(ValueError, match=r"line 2: cannot be read as a row \(field larger than field limit"):
        listed(src)


def test_nan_is_nothing_but_a_name_of_a_file(tmp_path: Path) -> None:
    src = written(
        tmp_path / "t.csv",
        "path,label,group,split,derived_from,image_source\nnan,NaN,nan,NaN,nan,nan\nNA,1,NA,Train,,NA\n",
    )
    assert listed(src) == {
        "nan": SourceFile("nan", None, "control", "mine"),
        "NA": SourceFile("NA", 1, "NA", "mine", "train", "NA"),
    }


def test_headers_differ_in_case_and_spaces(tmp_path: Path) -> None:
    src = written(tmp_path / "t.csv", " Path,Label,Image Source,SubSet,class-name\na.png,1, sd ,s,tench\n")
    assert listed(src) == {"a.png": SourceFile("a.png", 1, "sd", "s", class_name="tench")}
    src = written(tmp_path / "t.csv", "path,label,Label\na.png,1,7\n")
    assert labels(listed(src)) == {"a.png": 1}  # a name that is exact comes first


def test_parquet_tables_of_other_types_are_read(tmp_path: Path) -> None:
    src = tmp_path / "T.parquet"
    columns = {"Path": pa.array([b"a.png", b"b.png"]), "Label": [0.0, 1.0]}
    split = pa.array(["train", "validation"]).dictionary_encode()
    pq.write_table(pa.table({**columns, "split": split, "group": [1.0, float("nan")]}), src)
    files = listed(src)
    assert labels(files) == WANTED and [f.split for f in files.values()] == ["train", "validation"]
    assert [f.group for f in files.values()] == ["1", None]
    assert {name: found[0][1] for name, found in read_annotation(src).items()} == {"a.pt": 0, "b.pt": 1}
    pq.write_table(pa.table({"path": ["a.png"], "label": [True]}), src)
    with pytest.raises(ValueError, match=r"row 1: label of a.png is 'true': expected 0 or real, 1 or fake"):
        listed(src)


@pytest.mark.parametrize("text", ["2", "true", "False", "ai photo", "0.1", "01", "", "nan"])
def test_other_labels_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected 0 or real, 1 or fake"):
        parse_label(text)


def test_paths_of_windows_are_found(tmp_path: Path) -> None:
    save(tmp_path / "real" / "a.png", 0)
    save(tmp_path / "toy" / "b.png", 1)
    (tmp_path / "t.csv").write_text("path,label,derived_from\nreal\\a.png,0,\n.\\toy\\b.png,1,real\\a.png\n")
    rows = rows_of(pack(PackConfig(tmp_path / "t.csv", tmp_path / "out", num_workers=1)))
    assert set(rows) == {"real/a%2Epng", "toy/b%2Epng"}
    assert rows["toy/b%2Epng"]["group"] == "real/a%2Epng" == rows["toy/b%2Epng"]["derived_from"]
    assert rejections(tmp_path / "out") == {}
    ann = written(tmp_path / "ann.txt", "C:\\maps\\a.pt 0\n")
    assert read_annotation(ann) == {"a.pt": [("C:\\maps\\a.pt", 0)]}


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "data" / "a.png", 0)
    src = written(tmp_path / "data" / "ann.txt", "~/data/a.png 0\n")
    assert list(listed(src, "annotation")) == ["a.png"]
    save(tmp_path / "data" / "~" / "data" / "a.png", 0)  # a folder that is called so comes first
    assert list(listed(src, "annotation")) == ["~/data/a.png"]
    src.write_text("~/b.png 0\n")
    save(tmp_path / "b.png", 0)
    with pytest.raises(ValueError, match=r"line 1: .*b.png' does not lie below .* --root"):
        listed(src, "annotation")


@pytest.mark.parametrize("name", ["t.csv", "ann.txt"])
def test_names_in_latin_1_are_found_where_the_files_have_them(tmp_path: Path, name: str) -> None:
    save(tmp_path / "café.png", 0)
    text = b"path;label\ncaf\xe9.png;0\n" if name == "t.csv" else b"caf\xe9.png 0\n"
    src = written(tmp_path / name, text)
    assert list(listed(src, "table" if name == "t.csv" else "annotation")) == ["café.png"]
    assert list(read_annotation(src)) == ["café.pt"]


def test_other_columns_in_latin_1_are_named(tmp_path: Path) -> None:
    src = written(tmp_path / "t.csv", b"path,label,class_name\na.png,0,caf\xe9\n")
    with pytest.raises(ValueError, match="line 2: class_name is not UTF-8: save the table as UTF-8"):
        listed(src)


@pytest.mark.parametrize(("disk", "text"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_accents_are_one_name(tmp_path: Path, disk: str, text: str) -> None:
    on_disk, in_list = (unicodedata.normalize(form, "é.png") for form in (disk, text))  # type: ignore[arg-type]
    save(tmp_path / on_disk, 0)
    assert list(listed(written(tmp_path / "t.csv", f"path,label\n{in_list},0\n"))) == [on_disk]


def test_a_path_that_may_mean_two_files_is_named(tmp_path: Path) -> None:
    save(tmp_path / "x" / "a.png", 0)
    save(tmp_path / " x" / "a.png", 1)
    src = written(tmp_path / "t.csv", 'path,label\n" x\\a.png",0\n')
    with pytest.raises(ValueError, match=r"line 2: .* may mean .* or .*: expected the path of one file"):
        listed(src)


def test_a_path_as_written_comes_first_and_one_without_a_file_stays(tmp_path: Path) -> None:
    save(tmp_path / " a.png", 0)
    save(tmp_path / "a.png", 1)
    src = written(tmp_path / "t.csv", "path,label\n a.png,0\nno\\file.png,1\n")
    assert list(listed(src)) == [" a.png", "no\\file.png"]
    dataset = pack(PackConfig(src, tmp_path / "out", num_workers=1))
    assert list(rows_of(dataset)) == [" a%2Epng"]
    assert "its name makes no key" in rejections(tmp_path / "out")["no\\file.png"]
