"""A source that was given one or more levels too deep is answered with the folder to give."""

from pathlib import Path

import pytest

from extract.packing.lists import find_layout
from tests.extract.packing.test_pack import save


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for source in ("real", "sdv5"):
        save(tmp_path / "photos" / source / "0.png", len(source))
        save(tmp_path / "split" / "train" / source / "0.png", len(source))
        save(tmp_path / "split" / "val" / source / "0.png", len(source))
    for split in ("train", "val"):
        for kind in ("ai", "nature"):
            save(tmp_path / "GenImage" / "BigGAN" / "imagenet_ai_0419_biggan" / split / kind / "0.png", 1)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("photos/real", "photos"),
        ("photos/sdv5", "photos"),
        ("split/train/real", "split"),
        ("split/val/sdv5", "split"),
        ("GenImage/BigGAN/imagenet_ai_0419_biggan", "GenImage/BigGAN"),
        ("GenImage/BigGAN/imagenet_ai_0419_biggan/val", "GenImage/BigGAN"),
        ("GenImage/BigGAN/imagenet_ai_0419_biggan/train/ai", "GenImage/BigGAN"),
    ],
)
def test_too_deep_a_source_is_answered_with_its_parent(photos: Path, given: str, source: str) -> None:
    with pytest.raises(ValueError, match="expected a folder 'real'") as error:
        find_layout(photos / given, "auto")
    assert str(error.value).endswith(f"give {photos / source} instead")
    find_layout(photos / source, "auto")


def test_a_folder_in_no_source_has_no_such_hint(photos: Path) -> None:
    (photos / "other" / "images").mkdir(parents=True)
    with pytest.raises(ValueError, match="expected a folder 'real'") as error:
        find_layout(photos / "other" / "images", "auto")
    assert "instead" not in str(error.value)
