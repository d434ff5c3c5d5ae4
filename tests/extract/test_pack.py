import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache_schema import DatasetError, read_image_bytes
from extract.looking import look_at_bytes
from extract.pack import PackConfig, pack


def save(path: Path, seed: int, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """30 images of three sources, and five files that cannot be used."""
    src = tmp_path / "src"
    for i in range(10):
        save(src / "real" / f"{i}.v1.jpeg", i, quality=90)
        save(src / "sdv5" / f"{i}.png", 100 + i)
        save(src / "biggan" / "deep" / f"{i}.PNG", 200 + i)
    (src / "real" / "empty.jpg").write_bytes(b"")
    (src / "real" / "page.jpg").write_bytes(b"<html>")
    (src / "sdv5" / "cut.png").write_bytes((src / "sdv5" / "0.png").read_bytes()[:500])
    (src / "sdv5" / "copy.png").write_bytes((src / "sdv5" / "0.png").read_bytes())
    (src / "notes.txt").write_text("not below a source folder")
    return src


def test_pack_keeps_bytes_and_fields(src: Path, tmp_path: Path) -> None:
    dataset = pack(PackConfig(src, tmp_path / "out", num_workers=2, max_rows=8))
    assert {s: sum(c.get(s, 0) for c in dataset.counts.values()) for s in ("real", "sdv5", "biggan")} == {
        "real": 10,
        "sdv5": 10,
        "biggan": 10,
    }
    rows = {r["source_path"]: (n, r) for n in range(len(dataset.tars)) for r in dataset.rows(n).to_pylist()}
    n, row = rows["real/3.v1.jpeg"]
    assert (row["key"], row["label"], row["jpeg_quality"]) == ("real/3%2Ev1%2Ejpeg", 0, 90)
    assert (row["width"], row["height"], row["format"]) == (24, 16, "JPEG")
    data = read_image_bytes(dataset.tar_path(n), row["offset"], row["size"])
    assert data == (src / "real" / "3.v1.jpeg").read_bytes()
    assert rows["biggan/deep/3.PNG"][1]["label"] == 1 and rows["biggan/deep/3.PNG"][1]["image_source"] == "biggan"


def test_unusable_files_are_recorded(src: Path, tmp_path: Path) -> None:
    pack(PackConfig(src, tmp_path / "out", num_workers=1))
    with (tmp_path / "out" / "rejected.csv").open() as f:
        reasons = {r["path"]: r["reason"] for r in csv.DictReader(f)}
    assert set(reasons) == {"real/empty.jpg", "real/page.jpg", "sdv5/cut.png", "sdv5/copy.png"}
    assert reasons["real/empty.jpg"] == "empty file" and "cannot identify" in reasons["real/page.jpg"]
    assert reasons["sdv5/copy.png"] == "same bytes as sdv5/0.png"


def test_packing_twice_gives_the_same_bytes(src: Path, tmp_path: Path) -> None:
    for name, workers in (("a", 1), ("b", 2)):
        pack(PackConfig(src, tmp_path / name, num_workers=workers, max_rows=8))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_sources_are_mixed_within_a_tar(src: Path, tmp_path: Path) -> None:
    dataset = pack(PackConfig(src, tmp_path / "out", test_fraction=0, validation_fraction=0, max_rows=15))
    assert all(len(set(dataset.rows(n)["image_source"].to_pylist())) == 3 for n in range(len(dataset.tars)))


def test_split_folders_are_kept_and_validation_is_cut_from_train(src: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    (src / "notes.txt").unlink()
    src.rename(both / "train")
    for i in range(5):
        save(both / "test" / "real" / f"{i}.png", 300 + i)
    dataset = pack(PackConfig(both, tmp_path / "out", validation_fraction=0.3))
    assert dataset.counts["test"] == {"real": 5}
    assert sum(dataset.counts["train"].values()) + sum(dataset.counts["validation"].values()) == 30
    assert 0 < sum(dataset.counts["validation"].values()) < 20


def test_other_layouts_and_outputs_are_refused(src: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        PackConfig(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ValueError, match="expected a folder 'real'"):
        PackConfig(src / "biggan", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(DatasetError, match="exists"):
        pack(PackConfig(src, tmp_path / "out"))


@pytest.mark.parametrize("quality", [1, 30, 75, 96, 100])
def test_jpeg_quality_is_read_from_the_tables(tmp_path: Path, quality: int) -> None:
    save(tmp_path / "x.jpg", 0, quality=quality)
    assert look_at_bytes((tmp_path / "x.jpg").read_bytes()).jpeg_quality == quality
