"""Packing into a bucket: the bytes of a dataset on a disk, dataset.json last, and no mixture of two packings."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from cache_schema import Dataset, ObjectPath
from extract.__main__ import main
from tests.extract.conftest import make_images
from tests.object_storage.bucket import Bucket
from tests.object_storage.proxy import FAULTS, Proxy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for i, image in enumerate(make_images(9)):
        folder = tmp_path / "src" / ("real" if i % 2 else "sdv5")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(image)
    (tmp_path / "src" / "real" / "broken.png").write_bytes(b"no image")
    return tmp_path / "src"


def pack(source: Path, out: object, *more: str) -> int:
    return main(["pack", f"--src={source}", f"--out={out}", "--max_rows=3", "--num_workers=1", *more])


def test_a_packed_dataset_has_the_bytes_of_one_on_a_disk(
    source: Path, root: ObjectPath, bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack(source, tmp_path / "data") == 0
    assert pack(source, root / "data") == 0
    there = {key.rpartition("/")[2]: bucket.read(key) for key in bucket.keys(f"{root.key}/data/")}
    here = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    assert there == here
    assert len(here) > 4
    assert Dataset.open(root / "data").table().equals(Dataset.open(tmp_path / "data").table())
    capsys.readouterr()
    assert pack(source, root / "data") == 1
    assert f"{root}/data exists" in capsys.readouterr().err


def add_images(source: Path) -> None:
    """More pictures, as many as two tars hold."""
    for i, image in enumerate(make_images(14)[9:]):
        (source / ("real" if i % 2 else "sdv5") / f"more-{i}.png").write_bytes(image)


def test_what_is_appended_makes_the_bytes_of_a_disk(
    source: Path, root: ObjectPath, bucket: Bucket, proxied: Proxy, tmp_path: Path
) -> None:
    for out in (tmp_path / "data", root / "data"):
        assert pack(source, out) == 0
    add_images(source)
    before = Dataset.open(root / "data")
    proxied.requests.clear()
    for out in (tmp_path / "data", root / "data"):
        assert pack(source, out, "--append=true") == 0
    assert len(Dataset.open(root / "data").tars) > len(before.tars)
    there = {key.rpartition("/")[2]: bucket.read(key) for key in bucket.keys(f"{root.key}/data/")}
    assert there == {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    stored = [request.path.rpartition("/")[2] for request in proxied.requests if request.method == "PUT"]
    assert stored[-3:] == ["index.parquet", "rejected.csv", "dataset.json"]
    assert not {*stored} & {tar.name for tar in before.tars}
    assert before.table().num_rows == 9  # who has opened it before reads on


def test_of_two_that_append_one_is_refused(
    source: Path, root: ObjectPath, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack(source, root / "data") == 0
    add_images(source)
    listed = bucket.read(f"{root.key}/data/dataset.json")
    num_train = sum(tar.name.startswith("train-") for tar in Dataset.open(root / "data").tars)
    bucket.write(f"{root.key}/data/train-{num_train:06d}.tar", b"another's")
    capsys.readouterr()
    assert pack(source, root / "data", "--append=true") == 1
    assert "is there with other content, of another packing" in capsys.readouterr().err
    assert bucket.read(f"{root.key}/data/dataset.json") == listed


def test_labels_are_updated_on_a_disk_alone(source: Path, root: ObjectPath, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        pack(source, root / "data", "--append=true", "--update_labels=true")
    assert "labels are updated on a disk alone" in capsys.readouterr().err


def test_dataset_json_comes_last(source: Path, root: ObjectPath, proxied: Proxy) -> None:
    assert pack(source, root / "data") == 0
    stored = [request.path.rpartition("/")[2] for request in proxied.requests if request.method == "PUT"]
    assert stored[-2:] == ["rejected.csv", "dataset.json"]
    assert stored.index("index.parquet") > max(i for i, name in enumerate(stored) if name.endswith(".tar"))


def test_a_packing_that_was_cut_off_is_gone_on_with(
    source: Path,
    root: ObjectPath,
    bucket: Bucket,
    proxied: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "0.5")
    proxied.fault = lambda n, request: FAULTS["500"] if request.path.endswith("index.parquet") else None
    assert pack(source, root / "data") == 1
    assert "index.parquet: the service said 500" in capsys.readouterr().err
    kept = [key.rpartition("/")[2] for key in bucket.keys(f"{root.key}/data/")]
    assert "train-000000.tar" in kept
    assert "dataset.json" not in kept
    proxied.fault = lambda n, request: None
    assert pack(source, root / "data") == 0
    assert Dataset.open(root / "data").table().num_rows == 9


def test_tars_of_another_packing_are_never_mixed_in(
    source: Path, root: ObjectPath, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack(source, root / "data") == 0
    bucket.delete(f"{root.key}/data/dataset.json")
    image = source / "real" / "1.png"
    Image.open(image).transpose(Image.Transpose.ROTATE_90).save(image)
    capsys.readouterr()
    assert pack(source, root / "data") == 1
    assert "is there with other content, of another packing" in capsys.readouterr().err
    assert not [key for key in bucket.keys(f"{root.key}/data/") if key.endswith("dataset.json")]


@pytest.mark.parametrize("name", FAULTS)
def test_packing_through_a_faulty_service_ends_well(
    source: Path,
    root: ObjectPath,
    bucket: Bucket,
    proxied: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
) -> None:
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "2")
    proxied.fault = lambda n, request: FAULTS[name] if n % 3 == 1 else None
    assert pack(source, root / "data") == 0
    assert pack(source, tmp_path / "data") == 0
    there = {key.rpartition("/")[2]: bucket.read(key) for key in bucket.keys(f"{root.key}/data/")}
    assert there == {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    shutil.rmtree(tmp_path / "data")
