"""Packing what lies in a bucket: the dataset of the same source on a disk, to the byte, and nothing kept on the way."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache_schema import ObjectPath
from extract.__main__ import main
from tests.extract.conftest import make_images
from tests.object_storage.bucket import Bucket
from tests.object_storage.proxy import FAULTS, Proxy

Upload = Callable[[Path, ObjectPath], None]


def fill(folder: Path, names: list[str]) -> Path:
    """Pictures under these names, and beside them what no source has a place for."""
    for name, image in zip(names, make_images(len(names)), strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Class folders below splits, with what is rejected."""
    names = [
        f"{split}/{source}/{i}.png" for split in ("train", "test") for source in ("real", "sdv5") for i in range(3)
    ]
    source = fill(tmp_path / "folders", [*names, "train/real/ü 100% #1.png", "train/sdv5/deep/er/a.png"])
    (source / "train" / "real" / "broken.png").write_bytes(b"no image")
    (source / "train" / "real" / "empty.jpg").write_bytes(b"")
    (source / "train" / "sdv5" / "twice.png").write_bytes((source / names[0]).read_bytes())
    (source / "train" / "loose.png").write_bytes(b"x")
    (source / "train" / "sdv5" / ".cache").mkdir()
    (source / "train" / "sdv5" / ".cache" / "hidden.png").write_bytes(b"x")
    return source


@pytest.fixture
def genimage(tmp_path: Path) -> Path:
    parts = [("train", "ai"), ("train", "nature"), ("val", "ai"), ("val", "nature")]
    names = [f"Midjourney/imagenet_midjourney/{a}/{b}/{i}.png" for a, b in parts for i in range(2)]
    return fill(tmp_path / "genimage", [*names, "Midjourney/imagenet_midjourney/valid/ai/lost.png"])


def written(source: object, out: Path, *more: str) -> dict[str, bytes]:
    """The files of a dataset that is packed from a source."""
    status = main(["pack", f"--src={source}", f"--out={out}", "--max_rows=5", "--num_workers=2", *more])
    assert status == 0
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("layout", ["folders", "genimage"])
def test_folders_in_a_bucket_make_the_dataset_of_a_disk(
    layout: str, root: ObjectPath, upload: Upload, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue(layout)
    upload(source, root / layout)
    here, there = written(source, tmp_path / "here"), written(root / layout, tmp_path / "there")
    rejected = here["rejected.csv"].decode().replace(str(source), str(root / layout))
    assert there == {**here, "rejected.csv": rejected.encode()}
    expected = {
        "folders": ["broken.png", "empty.jpg", "twice.png", "loose.png"],
        "genimage": [f"lost.png,lies outside GenImage's layout, rename {root}/genimage/Midjourney"],
    }
    assert all(text.split(",")[0] in rejected for text in expected[layout])
    assert not [path for path in (tmp_path / "copies").rglob("*") if path.is_file() and path.stat().st_size]


def test_a_bucket_to_a_bucket(folders: Path, root: ObjectPath, bucket: Bucket, upload: Upload, tmp_path: Path) -> None:
    upload(folders, root / "folders")
    here = written(folders, tmp_path / "here")
    arguments = [f"--src={root / 'folders'}", f"--out={root / 'data'}", "--max_rows=5", "--num_workers=1"]
    assert main(["pack", *arguments]) == 0
    assert {key.rpartition("/")[2]: bucket.read(key) for key in bucket.keys(f"{root.key}/data/")} == here


@pytest.mark.parametrize("kind", ["csv", "parquet", "annotation"])
@pytest.mark.parametrize("place", ["beside", "on this machine, by addresses"])
def test_lists_of_objects(
    kind: str, place: str, folders: Path, root: ObjectPath, upload: Upload, bucket: Bucket, tmp_path: Path
) -> None:
    names = sorted(str(path.relative_to(folders)) for path in folders.rglob("*.png") if "hidden" not in path.name)
    upload(folders, root / "src")

    def write(file: Path, prefix: str) -> Path:
        rows = [(prefix + name, int("real" not in name)) for name in [*names, "not/there.png"]]
        if kind == "parquet":
            pq.write_table(pa.table({"path": [r[0] for r in rows], "label": [r[1] for r in rows]}), file)
        else:
            header, separator = ("path,label\n", ",") if kind == "csv" else ("", "\t")
            file.write_text(header + "".join(f"{path}{separator}{label}\n" for path, label in rows))
        return file

    name = f"list.{'txt' if kind == 'annotation' else kind}"
    here = written(write(tmp_path / name, ""), tmp_path / "here", f"--root={folders}")
    assert b'"not/there.png","no such file"' in here["rejected.csv"]
    if place == "beside":
        bucket.write(f"{root.key}/src/{name}", (tmp_path / name).read_bytes())
        there = written(root / "src" / name, tmp_path / "there")
    else:
        addresses = write(tmp_path / f"of-addresses-{name}", f"{root}/src/")
        there = written(addresses, tmp_path / "there", f"--root={root / 'src'}")
    assert there == here


def test_a_dataset_in_a_bucket_is_packed_again(folders: Path, root: ObjectPath, upload: Upload, tmp_path: Path) -> None:
    written(folders, tmp_path / "data")
    upload(tmp_path / "data", root / "data")
    more = "--degrade=jpeg:60"
    assert written(tmp_path / "data", tmp_path / "here", more) == written(root / "data", tmp_path / "there", more)


def test_every_image_is_asked_for_twice(
    folders: Path, root: ObjectPath, upload: Upload, proxied: Proxy, tmp_path: Path
) -> None:
    upload(folders, root / "folders")
    proxied.requests.clear()
    written(root / "folders", tmp_path / "there")
    read = [request for request in proxied.requests if request.path.endswith((".png", ".jpg"))]
    assert len(read) <= 2 * len({request.path for request in read}) + 1  # and the empty one, whose size is asked for
    assert not [request for request in read if "hidden" in request.path]


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_service_makes_no_other_dataset(
    folders: Path,
    root: ObjectPath,
    upload: Upload,
    proxied: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
) -> None:
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "1")
    here = written(folders, tmp_path / "here")
    upload(folders, root / "folders")
    proxied.fault = lambda n, request: FAULTS[name] if n % 5 == 1 else None
    assert written(root / "folders", tmp_path / "there", "--num_workers=1") == here


def test_a_service_that_stays_broken_rejects_nothing(
    folders: Path,
    root: ObjectPath,
    upload: Upload,
    proxied: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "0.5")
    upload(folders, root / "folders")
    proxied.fault = lambda n, request: FAULTS["500"] if request.path.endswith("real/1.png") else None
    assert main(["pack", f"--src={root / 'folders'}", f"--out={tmp_path / 'data'}", "--num_workers=2"]) == 1
    assert re.search(f"{root}/folders/(test|train)/real/1.png: the service said 500", capsys.readouterr().err)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--src={root}/nothing"], "src is {root}/nothing: no such folder or file"),
        (["--src={list}", "--root={root}/nothing"], "root is {root}/nothing: no such folder"),
        (["--src={list}", "--root={root}/elsewhere"], "does not lie below {root}/elsewhere"),
        (["--src={list}"], "say with --root what it lies below"),
    ],
)
def test_what_is_not_there_is_told(
    arguments: list[str],
    message: str,
    root: ObjectPath,
    bucket: Bucket,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    bucket.write(f"{root.key}/elsewhere/a.png", b"x")
    (tmp_path / "list.csv").write_text(f"path,label\n{root}/src/a.png,0\n")
    values = {"root": root, "list": tmp_path / "list.csv"}
    try:
        status = main(["pack", f"--out={tmp_path / 'data'}", *(text.format(**values) for text in arguments)])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status in (1, 2)
    assert message.format(**values) in " ".join(capsys.readouterr().err.split())


def test_a_name_that_cannot_be_asked_for_is_told(
    root: ObjectPath, bucket: Bucket, upload: Upload, folders: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    upload(folders, root / "folders")
    bucket.write(f"{root.key}/folders/train/real//7.png", b"x")
    assert main(["pack", f"--src={root / 'folders'}", f"--out={tmp_path / 'data'}"]) == 1
    assert "an object there has a name that cannot be asked for" in capsys.readouterr().err


def test_the_empty_object_that_stands_for_a_folder_is_no_file(
    root: ObjectPath, bucket: Bucket, upload: Upload, folders: Path, tmp_path: Path
) -> None:
    upload(folders, root / "folders")
    for folder in ("folders/", "folders/train/", "folders/train/real/"):
        bucket.write(f"{root.key}/{folder}", b"")
    assert written(root / "folders", tmp_path / "there") == written(folders, tmp_path / "here")
