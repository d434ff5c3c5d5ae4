"""A dataset from strangers: each sample once, in its own tar, and tars that hold plain files alone."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cache_schema import Cache, Dataset, DatasetError, read_image_bytes
from cache_schema.__main__ import main
from cache_schema.index import INDEX_SCHEMA
from cache_schema.tar_members import Member, is_mostly_holes, read_members
from cache_schema.tars import TarWriter
from cache_schema.writing import write_index
from tests.samples import make_sample


def change_manifest(dataset: Dataset, change: Callable[[dict[str, Any]], object]) -> None:
    path = dataset.folder / "dataset.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def change_index(dataset: Dataset, change: Callable[[list[pa.Table]], object]) -> None:
    """Writes the index again with the tables of its tars changed."""
    tables = [dataset.rows(n) for n in range(len(dataset.tars))]
    change(tables)
    write_index(dataset.index_path, tables)


def with_column(table: pa.Table, **values: Any) -> pa.Table:
    """The table with columns replaced; a single value stands in each row."""
    for name, value in values.items():
        field = INDEX_SCHEMA.field(name)
        column = pa.array(value if isinstance(value, list) else [value] * len(table), field.type)
        table = table.set_column(table.schema.get_field_index(name), field, column)
    return table


def problems(cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """What verify writes; it has found something."""
    assert main(["verify", "--data", str(dataset.folder), "--cache", str(cache.folder), "--num_workers=1", *flags]) == 1
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_a_tar_that_is_listed_twice_is_refused(
    cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    change_index(dataset, lambda tables: tables.insert(1, tables[0]))
    change_manifest(dataset, lambda content: content["tars"].insert(1, content["tars"][0]))
    with pytest.raises(DatasetError, match=r"train-000000\.tar is listed twice: its samples would count twice"):
        Dataset.open(dataset.folder)
    assert "train-000000.tar is listed twice" in problems(cache, dataset, capsys, "--deep")


def copy_tar(dataset: Dataset, name: str) -> None:
    """A tar under another name too, with its rows in the index, which say that they belong there."""
    shutil.copy(dataset.folder / dataset.tars[0].name, dataset.folder / name)
    change_index(dataset, lambda tables: tables.append(with_column(tables[0], tar=name)))
    change_manifest(dataset, lambda content: content["tars"].append(content["tars"][0] | {"name": name}))


def test_a_tar_that_lies_there_under_two_names_is_found(
    cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_tar(dataset, "train-000007.tar")
    shutil.copy(cache.folder / "train-000000.zarr.zip", cache.folder / "train-000007.zarr.zip")
    opened = Dataset.open(dataset.folder)
    with pytest.raises(DatasetError, match=r"8 keys stand in several rows, such as 'real/0%2Epng'"):
        opened.table(["key", "label"])
    out = problems(cache, dataset, capsys)
    assert "8 keys stand in several rows" in out


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tar": "train-000001.tar"}, "says that it belongs to 'train-000001.tar'"),
        ({"tar": "../../etc/passwd\x1b"}, r"belongs to '../../etc/passwd\x1b'"),
        ({"row": [1, 0, 2, 3, 4, 5, 6, 7]}, "not in the order of the samples"),
        ({"row": 0}, "not in the order of the samples"),
        ({"key": "toy/1%2Epng"}, "1 keys stand in several rows"),
        ({"label": 2}, "label is '2' in a row"),
        ({"split": "secret"}, "split is 'secret' in a row"),
        ({"sha256": "z" * 64}, "not 64 hexadecimal digits"),
        ({"offset": -1}, "offset is -1"),
        ({"size": -5}, "size is -5"),
        ({"size": 2**62}, "size is 4,611,686,018,427,387,904"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_rows_that_no_packing_writes_are_refused(dataset: Dataset, values: dict[str, Any], words: str) -> None:
    def change(tables: list[pa.Table]) -> None:
        tables[0] = with_column(tables[0], **values)

    change_index(dataset, change)
    opened = Dataset.open(dataset.folder)
    for read in (lambda: opened.rows(0), lambda: opened.table()):
        with pytest.raises(DatasetError) as caught:
            read()
        assert words in str(caught.value) and "\x1b" not in str(caught.value)
    if "tar" in values or "row" in values:  # whatever is read of it
        with pytest.raises(DatasetError):
            opened.table(["label"])
    assert len(opened.rows(1)) == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content["tars"][0].update(rows_sha256="x"), "train-000000.tar has 8 rows"),
        (lambda content: content["tars"][0].update(num_bytes=-1), "-1 bytes"),
        (lambda content: content["tars"][0].update(name="../train-000000.tar"), "no tar name"),
        (lambda content: content.update(counts={"train": {"real": "8"}}), "counts"),
        (lambda content: content.update(updated=["key\x1b", {}]), "updated"),
        (lambda content: content.update(format_version="\x1b[2J" * 1000), "format version"),
        (lambda content: content.update(settings=json.loads("[" * 300 + "]" * 300)), "settings|100 lists"),
    ],
)
def test_a_manifest_that_no_packing_writes_is_refused(dataset: Dataset, change: Any, words: str) -> None:
    change_manifest(dataset, change)
    with pytest.raises(Exception, match=words) as caught:
        Dataset.open(dataset.folder)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["dataset.json", "index.parquet", "cache.json", "train-000000.tar"])
def test_a_named_pipe_in_place_of_a_file_blocks_nobody(
    name: str, cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    path = (cache.folder if name == "cache.json" else dataset.folder) / name
    path.unlink()
    os.mkfifo(path)
    assert name in problems(cache, dataset, capsys, "--deep")
    if name.endswith(".tar"):
        with pytest.raises(DatasetError, match="it is a named pipe"):
            read_image_bytes(path, 0, 5)


def tar_of(path: Path, *infos: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(b"x" * info.size) if info.isreg() else None)
    return path


def info_of(kind: bytes, **values: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo("a.png")
    info.type = kind
    for name, value in values.items():
        setattr(info, name, value)
    return info


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (info_of(tarfile.SYMTYPE, linkname="/etc/passwd"), "a.png is a symbolic link: expected plain files alone"),
        (info_of(tarfile.LNKTYPE, linkname="b.png"), "a hard link"),
        (info_of(tarfile.DIRTYPE), "a folder"),
        (info_of(tarfile.CHRTYPE), "a device"),
        (info_of(tarfile.FIFOTYPE), "a named pipe"),
        (info_of(tarfile.REGTYPE, pax_headers={"size": "5"}), "more than a long name"),
        (info_of(tarfile.REGTYPE, pax_headers={"GNU.sparse.size": "99999999999"}), "more than a long name"),
        (info_of(tarfile.REGTYPE, pax_headers={"comment": "x" * 70_000}), "more than a long name"),
        (info_of(tarfile.REGTYPE, pax_headers={"path": "b.png", "mtime": "1"}), "more than a long name"),
    ],
)
def test_a_tar_holds_plain_files_alone(tmp_path: Path, info: tarfile.TarInfo, words: str) -> None:
    path = tar_of(tmp_path / "a.tar", info_of(tarfile.REGTYPE), info)
    with pytest.raises(DatasetError, match=words):
        list(read_members(path))


@pytest.mark.parametrize("kind", [b"S", b"L", b"K", b"g", b"7"])
def test_other_kinds_of_headers_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a.png")
    info.type = kind
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    with pytest.raises(DatasetError, match=r"a\.png is .*: expected plain files alone"):
        list(read_members(tmp_path / "a.tar"))


@pytest.mark.parametrize("size", [10**6, 2**62, -512])
def test_a_member_is_no_larger_than_its_tar(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("a.png")
    info.size = size
    header = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header + bytes(1024))
    with pytest.raises(DatasetError, match=r"it ends inside a\.png"):
        list(read_members(tmp_path / "a.tar"))


def test_members_are_those_that_were_written_and_that_tarfile_finds(tmp_path: Path) -> None:
    names = ["a", "é", "x" * 90, "y" * 300, "d/" * 60 + "z", "写真" * 40]
    writer = TarWriter(tmp_path / "a.tar")
    samples = [make_sample(i, source_path=f"{name}/{i}.png") for i, name in enumerate(names)]
    for sample in samples:
        writer.add(sample)
    writer.close()
    with tarfile.open(tmp_path / "a.tar") as archive:
        expected = [Member(info.name, info.offset_data, info.size) for info in archive]
    assert list(read_members(tmp_path / "a.tar")) == expected and len(expected) == 2 * len(names)


def test_a_tar_of_holes_is_not_read(cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset.tar_path(0)
    assert not is_mostly_holes(path)
    os.truncate(path, 2**42)
    if path.stat().st_blocks * 512 > 2**30:
        pytest.skip("the file system has no holes")
    change_manifest(dataset, lambda content: content["tars"][0].update(num_bytes=2**42))
    assert "train-000000.tar is mostly holes" in problems(cache, dataset, capsys, "--deep")


def test_jsons_beside_images_are_bounded(
    cache: Cache, dataset: Dataset, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = dataset.tar_path(0)
    with tarfile.open(path) as archive:
        content = [(info, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as archive:
        for n, (info, data) in enumerate(content):
            data = {1: b"[" * 100_000, 3: b" " * 2_000_000}.get(n, data)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    out = problems(cache, dataset, capsys, "--deep")
    assert "the tar's json cannot be read (maximum recursion" in out and "json has 2,000,000 bytes" in out
