import errno
import io
import json
import re
import shutil
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache_schema import (
    REJECTED_SCHEMA,
    Dataset,
    DatasetError,
    FormatVersionError,
    append_dataset,
    files,
    lock_folder,
    read_image_bytes,
    rows_sha256,
    write_dataset,
    writing,
)
from cache_schema.index import SCANNED_TARS
from cache_schema.index_view import IndexView
from cache_schema.text_hashes import check_distinct_keys
from tests.samples import make_sample


def test_dataset_lists_tars_by_split(dataset: Dataset) -> None:
    assert [(t.name, t.num_rows) for t in dataset.tars] == [
        ("train-000000.tar", 8),
        ("train-000001.tar", 8),
        ("validation-000000.tar", 4),
        ("test-000000.tar", 4),
    ]
    assert dataset.counts["train"] == {"real": 8, "toy": 8}
    assert dataset.table(["key", "label"])["label"].to_pylist() == [0, 1] * 12


def test_index_gives_the_original_bytes(dataset: Dataset) -> None:
    row = dataset.rows(1).to_pylist()[3]
    assert read_image_bytes(dataset.tar_path(1), row["offset"], row["size"]) == make_sample(11).image
    assert (row["tar"], row["row"], row["key"]) == ("train-000001.tar", 3, make_sample(11).key)


def test_rows_hash_is_over_keys_and_images(dataset: Dataset) -> None:
    rows = dataset.rows(2)
    hashes = [bytes.fromhex(h) for h in rows["sha256"].to_pylist()]
    assert rows_sha256(rows["key"].to_pylist(), hashes) == dataset.tars[2].rows_sha256
    assert rows_sha256(rows["key"].to_pylist(), hashes[::-1]) != dataset.tars[2].rows_sha256


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_webdataset_reads_the_tar(dataset: Dataset) -> None:
    webdataset = pytest.importorskip("webdataset", reason="not among the packages that cache_schema needs")
    samples = list(webdataset.WebDataset(str(dataset.tar_path(0)), shardshuffle=False))
    assert [s["__key__"] for s in samples] == dataset.rows(0)["key"].to_pylist()
    assert samples[2]["png"] == make_sample(2).image
    assert json.loads(samples[3]["json"])["label"] == 1


def test_same_samples_give_the_same_bytes(dataset: Dataset, tmp_path: Path) -> None:
    splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    again = write_dataset(
        tmp_path / "again", (make_sample(i, split=s) for i, s in enumerate(splits)), {"made_by": "a test"}, max_rows=8
    )
    for name in ["dataset.json", "index.parquet", *(t.name for t in dataset.tars)]:
        assert (again.folder / name).read_bytes() == (dataset.folder / name).read_bytes()


def test_tar_closes_at_its_size(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", (make_sample(i) for i in range(6)), {}, max_bytes=5000)
    assert [t.num_rows for t in dataset.tars] == [2, 2, 2]
    assert all(t.num_bytes == (tmp_path / "d" / t.name).stat().st_size for t in dataset.tars)


def test_failed_packing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="comes twice"):
        write_dataset(tmp_path / "d", [make_sample(0), make_sample(0)], {})
    with pytest.raises(ValueError, match="no samples"):
        write_dataset(tmp_path / "d", [], {})
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_packing_are_removed(tmp_path: Path) -> None:
    for name in (".d.tmp", f".d.{'0' * 32}.tmp"):  # the first of a version before
        (tmp_path / name).mkdir()
        (tmp_path / name / "train-000000.tar").write_bytes(b"half a tar")
    (tmp_path / ".d.lock").touch()  # the lock itself ended with its process
    dataset = write_dataset(tmp_path / "d", [make_sample(0)], {})
    assert {p.name for p in tmp_path.iterdir()} == {"d"}
    assert {p.name for p in dataset.folder.iterdir()} == {"dataset.json", "index.parquet", "train-000000.tar"}


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"file cannot be written to \(.*\), and the lock of d lies there"):
        write_dataset(tmp_path / "file" / "d", [make_sample(0)], {})

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("cache_schema.locks.os.open", refuse)
    with pytest.raises(DatasetError, match=re.escape(f"{tmp_path} cannot be written to (permission denied)")):
        write_dataset(tmp_path / "d", [make_sample(0)], {})


def test_two_writers_at_once_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with lock_folder(tmp_path / "d"), pytest.raises(DatasetError, match="being written by another process"):
        write_dataset(tmp_path / "d", [make_sample(0)], {})
    with lock_folder(dataset.folder), pytest.raises(DatasetError, match="being written by another process"):
        append_dataset(dataset.folder, [make_sample(30)], dataset.settings)
    write_dataset(tmp_path / "d", [make_sample(0)], {})


def test_existing_folder_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match="exists"):
        write_dataset(dataset.folder, [make_sample(0)], {})


def test_missing_and_damaged_folders_are_named(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no dataset\.json"):
        Dataset.open(tmp_path)
    index = dataset.index_path.read_bytes()
    dataset.index_path.write_bytes(index[:-100])
    with pytest.raises(DatasetError, match=r"index\.parquet cannot be read"):
        Dataset.open(dataset.folder)
    dataset.index_path.write_bytes(index)
    content = json.loads((dataset.folder / "dataset.json").read_text())
    (dataset.folder / "dataset.json").write_text(json.dumps({**content, "tars": content["tars"][1:]}))
    with pytest.raises(DatasetError, match="different packings"):
        Dataset.open(dataset.folder)
    (dataset.folder / "dataset.json").write_text(json.dumps({**content, "format_version": 99}))
    with pytest.raises(FormatVersionError, match="format version 99"):
        Dataset.open(dataset.folder)


def test_tar_names_cannot_point_outside(dataset: Dataset) -> None:
    path = dataset.folder / "dataset.json"
    path.write_text(path.read_text().replace("test-000000.tar", "../test-000000.tar"))
    with pytest.raises(DatasetError, match="is no tar name"):
        Dataset.open(dataset.folder)


def test_flipped_bit_in_the_index_is_caught(dataset: Dataset) -> None:
    data = bytearray(dataset.index_path.read_bytes())
    data[100] ^= 4
    dataset.index_path.write_bytes(data)
    with pytest.raises(DatasetError, match="cannot be read"):
        dataset.table()


def test_cut_and_missing_tars_are_named(dataset: Dataset) -> None:
    tar = dataset.tar_path(0)
    row = dataset.rows(0).to_pylist()[-1]
    tar.write_bytes(tar.read_bytes()[: row["offset"] + 10])
    with pytest.raises(DatasetError, match="ends inside an image"):
        read_image_bytes(tar, row["offset"], row["size"])
    tar.unlink()
    with pytest.raises(DatasetError, match="is missing"):
        read_image_bytes(tar, 0, 1)


def test_long_and_foreign_names_survive(tmp_path: Path) -> None:
    path = "dossier/" + "é" * 120 + ".png"
    dataset = write_dataset(tmp_path / "d", [make_sample(0, source_path=path)], {})
    row = dataset.rows(0).to_pylist()[0]
    assert row["source_path"] == path
    assert read_image_bytes(dataset.tar_path(0), row["offset"], row["size"]) == make_sample(0).image
    with tarfile.open(fileobj=io.BytesIO(dataset.tar_path(0).read_bytes())) as tar:
        assert tar.getnames()[0] == row["key"] + ".png"
    shutil.rmtree(dataset.folder)


def test_sample_fields_are_checked() -> None:
    with pytest.raises(ValueError, match="label is 2"):
        make_sample(0, label=2)
    with pytest.raises(ValueError, match="split is 'val'"):
        make_sample(0, split="val")
    with pytest.raises(ValueError, match="not that of its bytes"):
        make_sample(0, sha256="00" * 32)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_appending_adds_tars_and_changes_none(dataset: Dataset) -> None:
    before, old_rows = contents(dataset.folder), [dataset.rows(n) for n in range(4)]
    samples = [make_sample(0), make_sample(30), make_sample(31), make_sample(32, split="test")]
    grown, num_skipped = append_dataset(dataset.folder, samples, dataset.settings, max_rows=8)
    assert num_skipped == 1 and grown.dataset_id == dataset.dataset_id and grown.tars[:4] == dataset.tars
    assert [(t.name, t.num_rows) for t in grown.tars[4:]] == [("train-000002.tar", 2), ("test-000001.tar", 1)]
    assert [grown.rows(n) for n in range(4)] == old_rows
    assert grown.table(["key"])["key"].to_pylist()[-3:] == [s.key for s in samples[1:]]
    assert (grown.counts["train"], grown.counts["test"]) == ({"real": 9, "toy": 9}, {"real": 3, "toy": 2})
    after = contents(dataset.folder)
    assert all(after[name] == data for name, data in before.items() if name.endswith(".tar"))
    assert after.keys() - before.keys() == {"train-000002.tar", "test-000001.tar"}


def test_appending_nothing_new_changes_nothing(dataset: Dataset) -> None:
    before = contents(dataset.folder)
    grown, num_skipped = append_dataset(dataset.folder, [make_sample(3)], dataset.settings)
    assert num_skipped == 1 and grown == dataset and contents(dataset.folder) == before


def test_appending_refuses_other_bytes_and_other_settings(dataset: Dataset, tmp_path: Path) -> None:
    before = contents(dataset.folder)
    other = make_sample(0, image=make_sample(77).image)
    with pytest.raises(ValueError, match=r"'real/0%2Epng' is in the dataset with other bytes"):
        append_dataset(dataset.folder, [make_sample(30), other], dataset.settings)
    with pytest.raises(ValueError, match="comes twice"):
        append_dataset(dataset.folder, [make_sample(30), make_sample(30)], dataset.settings)
    with pytest.raises(DatasetError, match="made_by: a test ≠ None\n  seed: None ≠ 1"):
        append_dataset(dataset.folder, [make_sample(30)], {"seed": 1})
    with pytest.raises(DatasetError, match=r"holds no dataset\.json"):
        append_dataset(tmp_path / "nothing", [make_sample(30)], {})
    assert contents(dataset.folder) == before


def test_appending_that_was_cut_off_is_invisible_and_can_be_finished(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected = pa.Table.from_pylist([{"path": "x", "reason": "empty file"}], schema=REJECTED_SCHEMA)
    samples = [make_sample(i, split=("train", "test")[i % 2]) for i in range(24, 34)]

    def append(folder: Path, number: int = 10) -> Dataset:
        return append_dataset(folder, samples[:number], dataset.settings, max_rows=2, rejected=rejected)[0]

    shutil.copytree(dataset.folder, tmp_path / "whole")
    whole = append(tmp_path / "whole")
    published: list[str] = []

    def publish(temporary: Path, path: Path, stop_at: int | None = None) -> None:
        if len(published) == stop_at:
            raise KeyboardInterrupt
        published.append(path.name)
        files.publish(temporary, path)

    monkeypatch.setattr(writing, "publish", publish)
    shutil.copytree(dataset.folder, tmp_path / "counted")
    append(tmp_path / "counted")
    num_published = len(published)
    assert published[-2:] == ["rejected.csv", "dataset.json"] and num_published == 9
    for stop_at in range(num_published):
        folder = tmp_path / str(stop_at)
        shutil.copytree(dataset.folder, folder)
        published.clear()
        monkeypatch.setattr(writing, "publish", partial(publish, stop_at=stop_at))
        with pytest.raises(KeyboardInterrupt):
            append(folder)
        seen = Dataset.open(folder)
        assert seen.tars == dataset.tars and seen.table() == dataset.table() and seen.rows(3) == dataset.rows(3)
        monkeypatch.setattr(writing, "publish", files.publish)
        if stop_at % 2:
            append(folder, 4)  # fewer than before: what the first run left over must go
        append(folder, 4 if stop_at % 2 else 10)
        if not stop_at % 2:
            assert contents(folder) == contents(whole.folder)
        listed = {tar.name for tar in Dataset.open(folder).tars}
        assert {p.name for p in folder.iterdir()} == {*listed, "dataset.json", "index.parquet", "rejected.csv"}


def test_index_of_other_rows_is_refused_even_if_it_has_more(dataset: Dataset) -> None:
    tables = [dataset.rows(n) for n in (1, 2, 0, 3, 1)]
    with pq.ParquetWriter(dataset.index_path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    with pytest.raises(DatasetError, match="different packings"):
        Dataset.open(dataset.folder)


def test_rows_of_a_view_are_those_of_the_whole_table(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", (make_sample(i) for i in range(150)), {}, max_rows=2)
    assert len(dataset.tars) > SCANNED_TARS
    names = ["label", "key", "jpeg_quality"]
    table, view = dataset.table(), IndexView(dataset, names)
    rng = np.random.default_rng(0)
    assert (len(view), list(view.column_names)) == (150, names)
    for rows in (np.arange(150), np.sort(rng.choice(150, 40, replace=False)), rng.integers(0, 150, 60), [149], []):
        assert view.take(rows).equals(table.select(names).take(np.array(rows, int)))
        assert view.select(["sha256"]).take(rows).equals(table.select(["sha256"]).take(np.array(rows, int)))
    for row in (-1, 150):
        with pytest.raises(IndexError, match="of an index of 150"):
            view.take([0, row])


def test_a_view_reads_no_other_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write_dataset(tmp_path / "d", (make_sample(i) for i in range(12)), {}, max_rows=2)
    read, rows_of = list[int](), Dataset.rows_of

    def note(self: Dataset, tars: list[int], columns: list[str]) -> pa.Table:
        read.extend(tars)
        return rows_of(self, tars, columns)

    monkeypatch.setattr(Dataset, "rows_of", note)
    assert len(IndexView(dataset, ["key"]).take([3, 2, 8])) == 3
    assert read == [1, 4]


def test_a_key_in_two_of_many_tars_is_found(tmp_path: Path) -> None:
    samples = [make_sample(i) for i in range(100)]
    dataset = write_dataset(tmp_path / "d", samples, {}, max_rows=1)
    check_distinct_keys(dataset)
    rows = dataset.table()
    for row, of in ((90, 3), (91, 4), (92, 4)):
        keys = rows["key"].to_pylist()
        keys[row] = keys[of]
        rows = rows.set_column(0, rows.schema.field("key"), pa.array(keys))
    writing.write_index(tmp_path / "d" / "index.parquet", (rows.slice(i, 1) for i in range(100)))
    with pytest.raises(DatasetError, match=f"2 keys stand in several rows, such as '{samples[3].key}'.*again"):
        check_distinct_keys(Dataset.open(tmp_path / "d"))
