"""At most so many images of each source: reproducible, whole groups, every split, and appended to."""

from collections import Counter
from pathlib import Path

import pytest

from cache_schema import Dataset, DatasetError, count_images
from extract.packing.limiting import share
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import rejections, save


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Three sources of 40, 40 and 6 images."""
    for i in range(40):
        save(tmp_path / "src" / "real" / f"{i}.png", i, size=(8, 8))
        save(tmp_path / "src" / "sdv5" / f"{i}.png", 100 + i, size=(8, 8))
    for i in range(6):
        save(tmp_path / "src" / "adm" / f"{i}.png", 200 + i, size=(8, 8))
    return tmp_path / "src"


def config(src: Path, out: Path, **settings: object) -> PackConfig:
    return PackConfig(src, out, num_workers=1, **{"test_fraction": 0.4, "validation_fraction": 0.3, **settings})


def of_sources(dataset: Dataset) -> Counter[str]:
    return Counter(dataset.table(["image_source"])["image_source"].to_pylist())


def keys(dataset: Dataset) -> set[str]:
    return set(dataset.table(["key"])["key"].to_pylist())


def test_no_source_has_more_and_the_rest_is_counted(
    src: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (src / "sdv5" / "broken.png").write_bytes(b"")
    dataset = pack(config(src, tmp_path / "out", max_per_source=41))
    assert of_sources(dataset) == {"real": 40, "sdv5": 40, "adm": 6} and len(rejections(tmp_path / "out")) == 1
    dataset = pack(config(src, tmp_path / "less", max_per_source=10))
    assert of_sources(dataset)["real"] == 10 and of_sources(dataset)["sdv5"] in (9, 10)
    assert of_sources(dataset)["adm"] == 6
    assert "max_per_source 10: 61 of 87 files are left out, not inspected and not in rejected.csv" in caplog.text
    assert dataset.settings["max_per_source"] == 10
    assert "Or raise --max_per_source (now 10)" in caplog.text
    assert "max_per_source" not in pack(config(src, tmp_path / "all")).settings


def test_every_split_has_its_share(src: Path, tmp_path: Path) -> None:
    for folder in ("train", "test"):
        (tmp_path / "split" / folder).mkdir(parents=True)
    for i, folder in enumerate(["train"] * 30 + ["test"] * 10):
        for source in ("real", "sdv5"):
            place = tmp_path / "split" / folder / source / f"{i}.png"
            place.parent.mkdir(exist_ok=True)
            (src / source / f"{i}.png").rename(place)
    whole = pack(config(tmp_path / "split", tmp_path / "whole"))
    part = pack(config(tmp_path / "split", tmp_path / "part", max_per_source=8))
    there, kept = count_images(whole), count_images(part)
    for cell, number in there.items():
        assert abs(kept[cell] - 8 * number / 40) <= 1 and kept[cell], cell
    assert of_sources(part) == {"real": 8, "sdv5": 8}


@pytest.mark.parametrize(
    ("sizes", "most", "shares"),
    [
        ({"train": 96, "validation": 2, "test": 2}, 10, {"train": 8, "validation": 1, "test": 1}),
        ({"train": 5, "test": 5}, 20, {"train": 5, "test": 5}),
        ({"train": 100, "validation": 1, "test": 0}, 2, {"train": 1, "validation": 1, "test": 0}),
        ({"train": 100, "validation": 1, "test": 1}, 1, {"train": 0, "validation": 0, "test": 1}),
        ({"train": 1, "test": 2}, 2, {"train": 1, "test": 1}),
    ],
)
def test_a_limit_is_divided_by_size(sizes: dict[str, int], most: int, shares: dict[str, int]) -> None:
    assert share(sizes, most) == shares and sum(shares.values()) == min(most, sum(sizes.values()))


def test_the_choice_is_a_function_of_seed_and_group(src: Path, tmp_path: Path) -> None:
    first = keys(pack(config(src, tmp_path / "a", max_per_source=10)))
    save(src / "adm" / "more.png", 300)  # another source does not matter
    again = keys(pack(config(src, tmp_path / "b", max_per_source=10)))
    assert first == again - {"adm/more%2Epng"}
    assert {k for k in keys(pack(config(src, tmp_path / "c", max_per_source=10, seed=1))) if "adm" not in k} != {
        k for k in first if "adm" not in k
    }


def test_groups_stay_whole(src: Path, tmp_path: Path) -> None:
    rows = ["path,label,group"]
    rows += [f"{source}/{i}.png,{label},g{i // 5}" for source, label in (("real", 0), ("sdv5", 1)) for i in range(40)]
    (src / "list.csv").write_text("\n".join(rows) + "\n")
    dataset = pack(config(src / "list.csv", tmp_path / "out", max_per_source=23))
    sizes = Counter(zip(*dataset.table(["image_source", "group"]).to_pydict().values(), strict=True))
    assert set(sizes.values()) == {5} and max(of_sources(dataset).values()) <= 23
    real, generated = ({g for s, g in sizes if s == source} for source in ("real", "generated"))
    assert real == generated  # a group is chosen in all sources alike


def test_subsets_have_photographs_of_their_own(src: Path, tmp_path: Path) -> None:
    rows = [
        "path,label,subset",
        *(f"real/{i}.png,0,{'ab'[i % 2]}" for i in range(40)),
        "sdv5/0.png,1,a",
        "sdv5/1.png,1,b",
    ]
    (src / "list.csv").write_text("\n".join(rows) + "\n")
    dataset = pack(config(src / "list.csv", tmp_path / "out", max_per_source=6))
    counts: Counter[tuple[str, str]] = Counter()
    for (subset, source, _, _), number in count_images(dataset).items():
        counts[subset, source] += number
    assert counts == {("a", "real"): 6, ("b", "real"): 6, ("a", "generated"): 1, ("b", "generated"): 1}


@pytest.mark.parametrize("match", [None, "common"])
def test_appending_fills_up_to_the_limit_and_not_beyond(src: Path, tmp_path: Path, match: str | None) -> None:
    limit = {"max_per_source": 10, "match": match}
    first = keys(pack(config(src, tmp_path / "out", **limit)))
    assert keys(pack(config(src, tmp_path / "out", append=True, **limit))) == first
    for i in range(20):
        save(src / "adm" / f"new{i}.png", 400 + i, size=(8, 8))
        save(src / "glide" / f"{i}.png", 500 + i, size=(8, 8))
    grown = pack(config(src, tmp_path / "out", append=True, **limit))
    assert of_sources(grown) == {"real": 10, "sdv5": 10, "adm": 10, "glide": 10} and first < keys(grown)
    with pytest.raises(DatasetError, match="max_per_source: 10 ≠ 11"):
        pack(config(src, tmp_path / "out", append=True, max_per_source=11, match=match))


def test_a_limit_below_one_is_refused(src: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_per_source"):
        config(src, tmp_path / "out", max_per_source=0)
