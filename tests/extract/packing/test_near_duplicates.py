"""Images of different splits that look alike: packing counts them and names the first, and leaves none out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extract.packing.inspecting import inspect_bytes
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import rows_of


def save_smooth(path: Path, seed: int, *, size: tuple[int, int] = (160, 120), **options: object) -> None:
    """A picture with structure; another size or encoding of it looks the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    large = Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC)
    large.resize(size, Image.Resampling.LANCZOS).save(path, **options)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Eight pictures a class and split; two of the test are copies of training pictures, in other sizes or formats."""
    src = tmp_path / "src"
    for split, start in (("train", 0), ("test", 100)):
        for i in range(8):
            save_smooth(src / split / "real" / f"{i}.png", start + i)
            save_smooth(src / split / "sd" / f"{i}.png", 50 + start + i)
    save_smooth(src / "test" / "real" / "again.jpg", 3, quality=80)
    save_smooth(src / "test" / "sd" / "again.png", 55, size=(120, 90))
    save_smooth(src / "train" / "real" / "small.png", 4, size=(120, 90))  # of the same split
    return src


@pytest.mark.parametrize("workers", [1, 2])
def test_near_duplicates_across_splits_are_counted_and_named(
    src: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    dataset = pack(PackConfig(src, tmp_path / "out", num_workers=workers, validation_fraction=0))
    assert len(rows_of(dataset)) == 35
    (line,) = [record.getMessage() for record in caplog.records if "look alike" in record.getMessage()]
    assert line.startswith("2 pairs of images of different splits look alike (perceptual hashes that differ in 4 of 64")
    for pair in (("train/real/3.png (train)", "test/real/again.jpg (test)"), ("train/sd/5.png", "test/sd/again.png")):
        assert all(name in line for name in pair)


def test_an_append_is_compared_with_what_its_source_names(
    src: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (src / "test" / "real" / "again.jpg").rename(tmp_path / "again.jpg")
    (src / "test" / "sd" / "again.png").unlink()
    pack(PackConfig(src, tmp_path / "out", num_workers=1, validation_fraction=0))
    assert "look alike" not in caplog.text
    (tmp_path / "again.jpg").rename(src / "test" / "real" / "again.jpg")
    pack(PackConfig(src, tmp_path / "out", num_workers=1, validation_fraction=0, append=True))
    assert "1 pairs of images of different splits look alike" in caplog.text


def test_the_hash_is_of_the_upright_picture(tmp_path: Path) -> None:
    save_smooth(tmp_path / "a.jpg", 1, quality=95)
    exif = Image.Exif()
    exif[274] = 3
    with Image.open(tmp_path / "a.jpg") as image:
        image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "b.jpg", quality=95, exif=exif)
    one, other = (inspect_bytes((tmp_path / name).read_bytes()).likeness for name in ("a.jpg", "b.jpg"))
    assert (one ^ other).bit_count() <= 4
