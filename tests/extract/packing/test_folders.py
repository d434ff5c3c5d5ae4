"""Layout `folders` as people have it: other spellings, hidden folders, images that lie loose."""

from pathlib import Path

import pytest

from extract.packing.folders import LOOSE
from extract.packing.layouts import OUTSIDE_GENIMAGE
from extract.packing.lists import find_layout, list_source
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_left_out import touch
from tests.extract.packing.test_pack import rejections, rows_of, save

Fields = tuple[int | None, str, str | None]


def listed(src: Path) -> dict[str, Fields]:
    """Label, image source and split by path."""
    files = list_source(src, find_layout(src, "auto"), None, "all").files
    return {file.path: (file.label, file.image_source, file.split) for file in files}


def make(src: Path, *paths: str) -> None:
    touch(*(src / path for path in paths))


def test_usual_spellings_of_splits_and_photographs_are_understood(tmp_path: Path) -> None:
    make(tmp_path, "train/REAL/0.png", "train/FAKE/1.png", "Test/Real/2.png", "valid/real/3.png", "valid/FAKE/4.png")
    assert listed(tmp_path) == {
        "train/REAL/0.png": (0, "real", "train"),
        "train/FAKE/1.png": (1, "FAKE", "train"),
        "Test/Real/2.png": (0, "real", "test"),
        "valid/real/3.png": (0, "real", "validation"),
        "valid/FAKE/4.png": (1, "FAKE", "validation"),
    }


@pytest.mark.parametrize("name", ["val", "valid", "VAL", "validation"])
def test_a_validation_folder_of_any_name_is_the_validation_split(tmp_path: Path, name: str) -> None:
    for i, path in enumerate(("train/real", "train/toy", f"{name}/real", f"{name}/toy")):
        save(tmp_path / "src" / path / f"{i}.png", i)
    dataset = pack(PackConfig(tmp_path / "src", tmp_path / "out", num_workers=1, validation_fraction=0.9))
    assert dataset.counts == {"train": {"real": 1, "toy": 1}, "validation": {"real": 1, "toy": 1}}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["real/0.png", "REAL/1.png"], "holds 'REAL' and 'real', which both mean 'real'"),
        (["val/real/0.png", "valid/real/1.png"], "holds 'val' and 'valid', which both mean 'validation'"),
        (["train/real/0.png", "testing/real/1.png"], r"beside \['testing'\]. Rename .*/testing to .*/test$"),
        (["0_real/0.png", "1_fake/1.png"], r"found \['0_real', '1_fake'\]. Rename .*/0_real to .*/real$"),
        (["train/photos/0.png", "train/ai/1.png"], r"'train/ai', 'train/photos'\]. Rename .*/train/photos to .*/real$"),
        (
            ["train/nature/0.png", "val/nature/1.png"],
            "Rename .*/train/nature to .*/real, .*/val/nature to .*/val/real$",
        ),
    ],
)
def test_other_spellings_are_answered_with_the_exact_rename(tmp_path: Path, paths: list[str], message: str) -> None:
    make(tmp_path, *paths)
    with pytest.raises(ValueError, match=message):
        find_layout(tmp_path, "auto")


def test_hidden_folders_are_left_out_with_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hidden = [".cache", "train/.ipynb_checkpoints", "train/real/.thumbs", "train/real/a/@eaDir", "__MACOSX"]
    make(tmp_path / "src", "train/real/a/0.png", *(f"{folder}/x.png" for folder in hidden))
    save(tmp_path / "src" / "train" / "real" / "a" / "0.png", 0)
    dataset = pack(PackConfig(tmp_path / "src", tmp_path / "out", num_workers=1))
    assert [row["source_path"] for row in rows_of(dataset).values()] == ["train/real/a/0.png"]
    for folder in hidden:
        assert f"{tmp_path / 'src' / folder}: a hidden folder, left out" in caplog.messages


def test_hidden_folders_of_genimage_are_left_out_with_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "src" / "ADM" / "imagenet_adm" / "val" / "nature" / "0.png", 0)
    make(tmp_path / "src", ".cache/x.png", "ADM/imagenet_adm/val/nature/.cache/x.png", ".git/imagenet_x/val/ai/x.png")
    pack(PackConfig(tmp_path / "src", tmp_path / "out", num_workers=1))
    assert rejections(tmp_path / "out") == {}
    assert f"{tmp_path / 'src'}: 2 entries are left out: .cache, .git" in caplog.messages
    assert any("nature/.cache: a hidden folder, left out" in message for message in caplog.messages)


def test_a_list_may_name_files_in_hidden_folders(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(".cache/0.png 0\n")
    assert list(listed(tmp_path / "list.txt")) == [".cache/0.png"]


@pytest.mark.parametrize("split", ["", "train/"])
def test_images_beside_the_class_folders_are_listed(
    tmp_path: Path, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    src = tmp_path / "src"
    save(src / f"{split}real" / "0.png", 0)
    make(src, f"{split}loose.JPG", f"{split}notes.txt")
    config = PackConfig(src, tmp_path / "out", num_workers=1)
    pack(config)
    assert rejections(tmp_path / "out") == {f"{split}loose.JPG": LOOSE}
    assert f"{src / split}: 1 files are left out: notes.txt" in caplog.messages
    assert f"left out: 1 × {LOOSE} ({split}loose.JPG)" in caplog.messages
    pack(PackConfig(src, tmp_path / "out", num_workers=1, append=True))
    assert rejections(tmp_path / "out") == {f"{split}loose.JPG": LOOSE}


def test_images_outside_genimages_layout_are_listed_with_the_rename(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "ADM" / "imagenet_adm"
    save(folder / "val" / "nature" / "0.png", 0)
    make(folder, "valid/ai/1.png", "val/FAKE/2.png", "val/3.png", "val/notes.txt", "extra/4.png")
    make(tmp_path / "src", "5.png", "README.md")
    pack(PackConfig(tmp_path / "src", tmp_path / "out", num_workers=1))
    below = "ADM/imagenet_adm"
    assert rejections(tmp_path / "out") == {
        f"{below}/valid/ai/1.png": f"{OUTSIDE_GENIMAGE}; rename {folder}/valid to {folder}/val",
        f"{below}/val/FAKE/2.png": f"{OUTSIDE_GENIMAGE}; rename {folder}/val/FAKE to {folder}/val/ai",
        f"{below}/val/3.png": OUTSIDE_GENIMAGE,
        f"{below}/extra/4.png": OUTSIDE_GENIMAGE,
        "5.png": OUTSIDE_GENIMAGE,
    }


def test_split_folders_below_image_sources_are_told_not_to_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "real/train/0.png", "real/test/1.png", "toy/a/2.png")
    assert {split for _, _, split in listed(tmp_path).values()} == {None}
    assert len(caplog.messages) == 1 and "real: its folders test, train are not read as splits" in caplog.text
