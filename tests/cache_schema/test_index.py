import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import webdataset

from cache_schema import Dataset, DatasetError, FormatVersionError, read_image_bytes, rows_sha256, write_dataset
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
