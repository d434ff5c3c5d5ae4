"""Pictures in a bucket: the answers of the same pictures on a disk, also after a stop, in a file here or there."""

import csv
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cache_schema import ObjectPath
from detect.__main__ import main
from detect.picture import Picture
from tests.detect.conftest import Made
from tests.detect.conftest import made as made  # with real networks, tiny ones
from tests.detect.conftest import own_cache_folder as own_cache_folder
from tests.detect.fakes import FakeDetector
from tests.extract.conftest import make_images
from tests.object_storage.bucket import Bucket
from tests.object_storage.proxy import FAULTS, Proxy

Upload = Callable[[Path, ObjectPath], None]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folders of pictures, one of them broken, with what is no picture, and a tar of some."""
    folder = tmp_path / "pictures"
    names = ["a/1.png", "a/2.png", "a/z/3.png", "b/ü 100% #4.png", "5.png"]
    for name, data in zip(names, make_images(5), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "a" / "15 broken.png").write_bytes(b"nothing")
    (folder / "a" / "notes.txt").write_bytes(b"text")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "6.png").write_bytes(b"x")
    with tarfile.open(folder / "some.tar", "w") as tar:
        for i, data in enumerate(make_images(3)):
            info = tarfile.TarInfo(f"{i}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return folder


def detect(made: Made, words: list[str], out: object, *more: str) -> int:
    where = [f"--detector={made.folder}", f"--model={made.model}", "--device=cpu", "--batch_size=4"]
    return main(["run", *words, *where, f"--out={out}", *more])


def rows(text: str, folder: object) -> list[dict[str, str]]:
    """Rows of a CSV file, without times, and with names below the folder."""
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    return [{**row, "seconds": "", "name": row["name"].removeprefix(f"{folder}/")} for row in found]


def test_answers_equal_those_of_a_disk(
    made: Made,
    pictures: Path,
    root: ObjectPath,
    bucket: Bucket,
    upload: Upload,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upload(pictures, root / "pictures")

    def answers(folder: object, out: object) -> str:
        listed = tmp_path / "list"
        listed.write_text(f"{folder}/a/2.png\n{folder}/5.png\n{folder}/gone.png\n{folder}/some.tar\n")
        words = [f"{folder}/a", str(folder), f"{folder}/b/ü 100% %234.png".replace("%23", "#"), f"{folder}/some.tar"]
        assert detect(made, [word for word in words if "#" not in word], out, f"--files_from={listed}") == 3
        return capsys.readouterr().err

    here = answers(pictures, tmp_path / "here.csv")
    there = answers(root / "pictures", tmp_path / "there.csv")
    mine = rows((tmp_path / "here.csv").read_text("utf-8"), pictures)
    theirs = rows((tmp_path / "there.csv").read_text("utf-8"), root / "pictures")
    gone = [each.pop("error") for found in (mine, theirs) for each in found if each["name"] == "gone.png"]
    assert gone == ["cannot be read: no such file or directory", "cannot be read: no such object"]
    assert mine == theirs
    assert len(mine) == 4 + 6 + 3 + 2 + 1 + 3
    for text in ("other files: ", "1 hidden"):
        assert text in here and text in there


def test_a_dataset_and_a_file_of_answers_in_a_bucket(
    made: Made, root: ObjectPath, bucket: Bucket, upload: Upload, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(made.data, root / "data")
    for suffix in ("csv", "parquet", "jsonl"):
        out = root / "answers" / f"r.{suffix}"
        assert detect(made, [str(made.data)], tmp_path / out.name) == 0
        assert detect(made, [str(root / "data")], out) == 0
        (tmp_path / f"there-{out.name}").write_bytes(bucket.read(out.key))
    tables = [pq.read_table(tmp_path / f"{name}r.parquet").drop(["seconds"]) for name in ("", "there-")]
    assert tables[0].equals(tables[1])
    texts = [(tmp_path / f"{name}r.csv").read_text("utf-8") for name in ("", "there-")]
    assert rows(texts[0], "") == rows(texts[1], "") != []
    capsys.readouterr()
    assert detect(made, [str(root / "data")], root / "answers" / "r.csv") == 1
    assert f"{root}/answers/r.csv exists" in capsys.readouterr().err
    assert detect(made, [str(root / "data")], root / "answers" / "r.csv", "--overwrite=true") == 0


@pytest.mark.parametrize("place", ["here", "there"])
def test_a_stopped_run_goes_on_where_it_was(
    place: str,
    root: ObjectPath,
    upload: Upload,
    proxied: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "0.5")
    fake = FakeDetector()
    monkeypatch.setattr("detect.files.run.load_detector", lambda config: fake)
    for i, data in enumerate(make_images(12)):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{i:02d}.png").write_bytes(data)
    upload(tmp_path / "photos", root / "photos")
    out: object = tmp_path / "r.csv" if place == "here" else root / "r.csv"
    command = ["run", str(root / "photos"), "--detector=x", f"--out={out}"]
    proxied.fault = lambda n, request: FAULTS["500"] if request.path.endswith("07.png") else None
    assert main(command) == 1
    assert f"{root}/photos/07.png: the service said 500" in capsys.readouterr().err
    answered = len(fake.asked) - 1  # the last one failed
    assert 0 < answered < 12
    proxied.fault = lambda n, request: None
    fake.asked.clear()
    assert main(command) == 0
    assert fake.asked == [f"{root}/photos/{i:02d}.png" for i in range(answered, 12)]
    monkeypatch.setattr(fake, "asked", [])
    assert main(["run", str(tmp_path / "photos"), "--detector=x", f"--out={tmp_path / 'local.csv'}"]) == 0
    text = Path(str(out)).read_text("utf-8") if place == "here" else _read(root / "r.csv")
    found = rows(text, root / "photos")
    assert found == rows((tmp_path / "local.csv").read_text("utf-8"), tmp_path / "photos")
    assert not list((tmp_path / "copies").rglob("*.part"))


def _read(path: ObjectPath) -> str:
    data = Picture.of(path).load()
    assert isinstance(data, bytes)
    return data.decode()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_at_every_other_request_changes_no_answer(
    name: str,
    root: ObjectPath,
    pictures: Path,
    upload: Upload,
    proxied: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "1")
    monkeypatch.setattr("detect.files.run.load_detector", lambda config: FakeDetector())
    upload(pictures, root / "pictures")
    proxied.fault = lambda n, request: FAULTS[name] if n % 2 else None
    for folder in (pictures, root / "pictures"):
        words = [str(folder), f"{folder}/some.tar"]
        assert main(["run", *words, "--detector=x", f"--out={tmp_path / type(folder).__name__}.csv"]) == 3
    here, there = (
        rows((tmp_path / f"{type(folder).__name__}.csv").read_text("utf-8"), folder)
        for folder in (pictures, root / "pictures")
    )
    assert here == there
    assert len(there) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{root}/nothing"], "{root}/nothing: no such object, and none below it"),
        (["s3://no-such-bucket/a"], "there is no bucket no-such-bucket"),
        (["{root}/a.png", "--detector={root}/detector"], "{root}/detector is in object storage: this setting takes"),
        (["{root}/a.png", "--maps={root}/maps"], "{root}/maps is in object storage: this setting takes"),
        (["{root}/a.tar.gz"], "{root}/a.tar.gz is a compressed tar, which is not read"),
        (["{root}/a.png", "--out={root}/a.csv"], "{root}/a.csv exists"),
        (["s3://user:secret@host/a"], "an address s3://… is not of the form"),
    ],
)
def test_what_cannot_be_asked_about_is_told(
    arguments: list[str],
    message: str,
    root: ObjectPath,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("detect.files.run.load_detector", lambda config: FakeDetector())
    bucket.write(f"{root.key}/a.png", make_images(1)[0])
    bucket.write(f"{root.key}/a.csv", b"x")
    bucket.write(f"{root.key}/a.tar.gz", b"\x1f\x8b" + bytes(600))
    words = [text.format(root=root) for text in arguments]
    try:
        status = main(["run", *words, *([] if "--detector" in " ".join(words) else ["--detector=x"])])
    except SystemExit as ended:
        status = int(ended.code or 0)
    error = capsys.readouterr().err
    assert status in (1, 2)
    assert message.format(root=root) in " ".join(error.split())
    assert "secret" not in error
