"""`info` of a dataset folder, and of a folder of datasets and caches."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from cache_schema import REJECTED_SCHEMA, Cache, Dataset, write_dataset
from cache_schema.__main__ import main
from tests.samples import make_sample

Capture = pytest.CaptureFixture[str]


def write(folder: Path, **settings: object) -> Dataset:
    rejected = pa.table({"path": ["a.png", "b.png", "c.png"], "reason": ["empty file"] * 2 + ["odd"]}, REJECTED_SCHEMA)
    return write_dataset(folder, [make_sample(i) for i in range(4)], settings, rejected=rejected)


def info(folder: Path, capsys: Capture) -> str:
    assert main(["info", str(folder)]) == 0
    return capsys.readouterr().out


def test_dataset_is_told_with_its_source_its_images_and_what_was_left_out(tmp_path: Path, capsys: Capture) -> None:
    dataset = write(tmp_path / "data", layout="genimage", match=None, seed=3)
    text = info(tmp_path / "data", capsys)
    for part in (dataset.dataset_id, "a tree of GenImage's layout", "byte for byte", "seed", "images          4"):
        assert part in text, part
    assert "3, listed in rejected.csv" in text and "2 × empty file (for example a.png)" in text and "1 × odd" in text
    assert "match" not in text
    assert "toy     real          real           2           0     0    2" in text


def test_copies_are_told(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path / "data", layout="dataset", degrade="jpeg:65", match=None)
    assert "copies made by --degrade jpeg:65" in info(tmp_path / "data", capsys)


def test_folder_of_variants_is_listed(tmp_path: Path, cache: Cache, capsys: Capture) -> None:
    write(tmp_path / "all" / "clean")
    write(tmp_path / "all" / "jpeg65", degrade="jpeg:65")
    write(tmp_path / "all" / "broken")
    (tmp_path / "all" / "broken" / "index.parquet").write_bytes(b"")
    shutil.copytree(cache.folder, tmp_path / "all" / "t200-e4")
    (tmp_path / "all" / "notes").mkdir()
    lines = info(tmp_path / "all", capsys).splitlines()
    assert [line.split()[0] for line in lines] == ["folder", "broken", "clean", "jpeg65", "t200-e4", "broken:"]
    assert lines[1].split()[1:] == ["dataset", "cannot", "be", "read,", "see", "below"] and "index.parquet" in lines[-1]
    assert lines[3].split() == ["jpeg65", "dataset", "copies", "made", "by", "--degrade", "jpeg:65", "1", "4"]
    assert lines[4].split()[:2] == ["t200-e4", "cache"] and "timestep 200" in lines[4]


def test_what_is_neither_is_one_sentence(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "photos").mkdir()
    assert main(["info", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "is no cache and no dataset: expected cache.json or dataset.json in it" in error


@pytest.mark.parametrize("content", [b"path\n\xff", b'path,reason\n"a', b"other,columns\n1,2\n"])
def test_damaged_list_of_rejected_files_is_one_sentence(tmp_path: Path, content: bytes, capsys: Capture) -> None:
    write(tmp_path / "data")
    (tmp_path / "data" / "rejected.csv").write_bytes(content)
    assert main(["info", str(tmp_path / "data")]) == 1
    assert "rejected.csv cannot be read" in capsys.readouterr().err


def test_settings_of_a_stranger_are_shown_as_text(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path / "data")
    manifest = tmp_path / "data" / "dataset.json"
    content = json.loads(manifest.read_text())
    content["settings"] = {"layout": "\x1b[31mred\n", "match": ["odd"]}
    manifest.write_text(json.dumps(content))
    text = info(tmp_path / "data", capsys)
    assert "\x1b" not in text and r"\x1b[31mred\n" in text and "--match ['odd']" in text
