"""What training or evaluation will refuse is told by packing, with the setting to change."""

from collections import Counter
from pathlib import Path

import pytest

from extract.packing.gaps import Remedies, find_gaps
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import save

REMEDIES = Remedies({"train": "T", "validation": "V", "test": "E"}, "L")


def gaps(cells: dict[tuple[str, str, int], int], offered: dict[tuple[str, int], int] | None = None) -> list[str]:
    return list(find_gaps(Counter(cells), Counter(offered or {}), REMEDIES))


WHOLE = {(split, "s", label): 20 for split in ("train", "validation", "test") for label in (0, 1)}


def test_a_whole_dataset_has_no_gap() -> None:
    assert gaps(WHOLE, {("s", 0): 60, ("s", 1): 61}) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({("validation", "s", 0): 0}, "validation images, real: 0 of subset s: fewer than 10"),
        ({("validation", "s", 1): 9}, "validation images, generated: 9 of subset s: fewer than 10"),
        ({("test", "s", 0): 0}, "test images, real: 0 of subset s: evaluation needs both classes"),
        ({("train", "s", 1): 0}, "train images, generated: 0 of subset s: training will refuse"),
    ],
)
def test_each_class_of_each_split_is_looked_at(changes: dict[tuple[str, str, int], int], sentence: str) -> None:
    (line,) = gaps(WHOLE | changes)
    assert line.startswith(sentence) and line.endswith(
        {"train": " T", "validation": " V", "test": " E"}[line.split()[0]]
    )


def test_several_subsets_are_one_sentence() -> None:
    other = {(split, "other", label): 20 for split, _, label in WHOLE}
    (line,) = gaps(WHOLE | other | {("validation", "s", 0): 2, ("validation", "other", 0): 0})
    assert "validation images, real: 0 of subset other, 2 of subset s" in line


def test_a_subset_without_photographs_is_told() -> None:
    (line,) = gaps(WHOLE | {("test", "alone", 1): 5})
    assert line.startswith("subset alone has generated images and no real ones: evaluation will refuse it")


def test_photographs_alone_are_told() -> None:
    reals = {cell: number for cell, number in WHOLE.items() if not cell[2]}
    assert gaps(reals, {("s", 0): 60}) == [
        "there are no generated images at all: training and evaluation will refuse this dataset. Add some."
    ]


def packing(tmp_path: Path, caplog: pytest.LogCaptureFixture, **settings: object) -> str:
    pack(PackConfig(tmp_path / "src", tmp_path / "out", num_workers=1, **settings))
    return "\n".join(caplog.messages)


def fill(folder: Path, start: int, num: int = 3) -> None:
    for i in range(start, start + num):
        save(folder / f"{i}.png", i)


def test_a_cut_without_validation_names_its_fraction(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "src" / "real", 0)
    fill(tmp_path / "src" / "toy", 10)
    text = packing(tmp_path, caplog, validation_fraction=0, test_fraction=0)
    assert "there are no validation images at all: training cannot choose its best state" in text
    assert "Raise --validation_fraction (now 0), or change --seed." in text
    assert "there are no test images at all" in text and "Raise --test_fraction (now 0)" in text


def test_a_source_with_only_a_test_split_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "src" / "test" / "real", 0)
    fill(tmp_path / "src" / "test" / "toy", 10)
    text = packing(tmp_path, caplog)
    assert "there are no train images at all: training will refuse this dataset. The source says its splits" in text


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"match": "select"}, "none of its 3 real images can be used. Change --select_px (now 450 to 550), or"),
        (
            {"degrade": "blend:0.5"},
            "none of its 3 generated images can be used. Give each its photograph in",
        ),
    ],
)
def test_copies_that_leave_one_class_name_the_setting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, str], sentence: str
) -> None:
    fill(tmp_path / "src" / "real", 0)
    fill(tmp_path / "src" / "toy", 10)
    assert f"subset all: {sentence}" in packing(tmp_path, caplog, **settings)


def test_reals_that_another_subset_has_in_another_split_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, split, start in (("A", "train", 10), ("B", "val", 20)):
        fill(tmp_path / "src" / name / f"imagenet_{name}" / split / "nature", 0)
        fill(tmp_path / "src" / name / f"imagenet_{name}" / split / "ai", start)
    text = packing(tmp_path, caplog)
    assert "subset B: none of its 3 real images can be used. rejected.csv says why." in text
    assert "which subset A has in the split train" in text


def test_an_append_that_fills_the_gap_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "src" / "train" / "real", 0)
    fill(tmp_path / "src" / "train" / "toy", 10)
    assert "there are no test images at all" in packing(tmp_path, caplog)
    caplog.clear()
    fill(tmp_path / "src" / "test" / "real", 20)
    fill(tmp_path / "src" / "test" / "toy", 30)
    text = packing(tmp_path, caplog, append=True)
    assert "test" not in text and "validation" in text
