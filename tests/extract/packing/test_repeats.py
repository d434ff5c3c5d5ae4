"""Photographs that several subsets share: each subset has them once, and no split shares them with another."""

from pathlib import Path

import pytest

from cache_schema import Dataset
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import rejections, rows_of, save

NUM_PHOTOGRAPHS = 12


def genimage(root: Path, *generators: str, split: str = "train") -> Path:
    """The same photographs in each generator's folder, beside images of its own."""
    for n, name in enumerate(generators):
        for i in range(NUM_PHOTOGRAPHS):
            save(root / name / f"imagenet_{name}" / split / "nature" / f"{i}.png", i)
            save(root / name / f"imagenet_{name}" / split / "ai" / f"{i}.png", 100 * (n + 1) + i)
    return root


def packed(src: Path, out: Path, **settings: object) -> Dataset:
    return pack(PackConfig(src, out, num_workers=1, **settings))


def photographs(dataset: Dataset, subset: str) -> dict[str, tuple[str, str]]:
    """sha256 → split and group."""
    rows = [row for row in rows_of(dataset).values() if row["label"] == 0 and row["subset"] == subset]
    assert len(rows) == len({row["sha256"] for row in rows})
    return {row["sha256"]: (row["split"], row["group"]) for row in rows}


@pytest.mark.parametrize("match", [None, "common"])
def test_the_same_photographs_are_the_reals_of_each_subset_of_genimage(tmp_path: Path, match: str | None) -> None:
    src = genimage(tmp_path / "src", "A", "B", "C")
    dataset = packed(src, tmp_path / "out", validation_fraction=0.4, match=match)
    subsets = [photographs(dataset, name) for name in "ABC"]
    assert subsets[0] == subsets[1] == subsets[2] and len(subsets[0]) == NUM_PHOTOGRAPHS
    assert {split for split, _ in subsets[0].values()} == {"train", "validation"}
    assert rejections(dataset.folder) == {}


def test_a_photograph_that_comes_to_another_split_is_left_out(tmp_path: Path) -> None:
    genimage(tmp_path / "src", "A", "B")
    genimage(tmp_path / "src", "C", split="val")
    dataset = packed(tmp_path / "src", tmp_path / "out", validation_fraction=0)
    assert photographs(dataset, "C") == {} and photographs(dataset, "A") == photographs(dataset, "B")
    reasons = [reason for path, reason in rejections(dataset.folder).items() if "nature" in path]
    assert len(reasons) == NUM_PHOTOGRAPHS
    assert all(reason.endswith(", which subset A has in the split train") for reason in reasons)


def test_a_subset_that_is_appended_has_them_too_and_once(tmp_path: Path) -> None:
    genimage(tmp_path / "src", "A", "B")
    packed(tmp_path / "src", tmp_path / "out", validation_fraction=0.4)
    genimage(tmp_path / "src", "A", "B", "C")
    dataset = packed(tmp_path / "src", tmp_path / "out", validation_fraction=0.4, append=True)
    assert photographs(dataset, "A") == photographs(dataset, "B") == photographs(dataset, "C")
    again = tmp_path / "src" / "B" / "imagenet_B" / "train" / "nature" / "again.png"
    save(again, 0)
    assert packed(tmp_path / "src", tmp_path / "out", validation_fraction=0.4, append=True) == dataset
    assert "same bytes as" in rejections(dataset.folder)[str(again.relative_to(tmp_path / "src"))]


def test_what_was_made_from_a_repeat_stays_with_it(tmp_path: Path) -> None:
    lines = ["path,label,subset,derived_from"]
    for i in range(20):
        for n, subset in enumerate("ab"):
            save(tmp_path / subset / f"r{i}.png", i)
            save(tmp_path / subset / f"g{i}.png", 100 * (n + 1) + i)
            lines += [f"{subset}/r{i}.png,0,{subset},", f"{subset}/g{i}.png,1,{subset},{subset}/r{i}.png"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    rows = rows_of(packed(tmp_path / "t.csv", tmp_path / "out", validation_fraction=0.3, test_fraction=0.3))
    assert len(rows) == 80
    for i in range(20):
        places = {
            (rows[f"{s}/{kind}{i}%2Epng"]["split"], rows[f"{s}/{kind}{i}%2Epng"]["group"])
            for s in "ab"
            for kind in "rg"
        }
        assert len(places) == 1


def test_repeats_with_other_labels_or_of_generated_images_are_left_out(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        save(tmp_path / f"{name}.png", 0)
    (tmp_path / "t.csv").write_text("path,label,subset\na.png,1,A\nb.png,1,B\nc.png,0,C\nd.png,,D\n")
    assert list(rows_of(packed(tmp_path / "t.csv", tmp_path / "out"))) == ["a%2Epng"]
    reasons = rejections(tmp_path / "out")
    assert reasons["b.png"] == "same bytes as a.png"
    assert reasons["c.png"] == "same bytes as a.png, which has label 1" == reasons["d.png"]


def test_repeats_of_groups_that_are_told_stay_in_their_groups(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", 0)
    table = tmp_path / "t.csv"
    table.write_text("path,label,subset,split,group\na.png,0,A,test,x\nb.png,0,B,test,y\n")
    rows = rows_of(packed(table, tmp_path / "out"))
    assert {key: row["group"] for key, row in rows.items()} == {"a%2Epng": "x", "b%2Epng": "y"}
