"""What belongs together comes to one split: chains of derived images, and groups that a source divides."""

import csv
from pathlib import Path

import pytest

from cache_schema import Dataset
from extract.packing.chains import Chains
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import rows_of, save

Row = dict[str, object]


def write(src: Path, rows: list[Row], name: str = "t.csv") -> Path:
    names = ["path", "label", "split", "group", "derived_from"]
    with (src / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    for i, row in enumerate(rows):
        if not (src / str(row["path"])).exists():
            save(src / str(row["path"]), hash(name) % 1000 * 1000 + i)
    return src / name


def packed(src: Path, out: Path, **settings: object) -> Dataset:
    return pack(PackConfig(src, out, num_workers=1, **settings))  # type: ignore[arg-type]


def test_descendants_come_to_the_split_of_their_root(tmp_path: Path) -> None:
    """23 of 80 lay elsewhere while an image was grouped by what it was made from, not by the root."""
    rows: list[Row] = []
    for i in range(20):
        rows.append({"path": f"{i}.png", "label": 0})
        for step in range(1, 5):
            parent = f"{i}.png" if step == 1 else f"{i}-{step - 1}.png"
            rows.append({"path": f"{i}-{step}.png", "label": 1, "derived_from": parent})
    found = rows_of(packed(write(tmp_path, rows), tmp_path / "out", validation_fraction=0.3, test_fraction=0.3))
    assert len({row["split"] for row in found.values()}) == 3
    for i in range(20):
        of_root = [row for key, row in found.items() if key.partition("%")[0].partition("-")[0] == str(i)]
        assert len(of_root) == 5 and {row["group"] for row in of_root} == {f"{i}%2Epng"}
        assert len({row["split"] for row in of_root}) == 1


def test_the_nearest_group_on_the_way_to_the_root_counts() -> None:
    chains = Chains({"c": "b", "b": "a", "e": "d"}, {"b": "scene"})
    assert [chains.group_of(name) for name in "abcde"] == [None, "scene", "scene", None, "d"]


@pytest.mark.parametrize(
    ("parents", "start", "circle"),
    [({"a": "a"}, "a", "a → a"), ({"c": "b", "b": "a", "a": "b"}, "c", "b → a → b")],
)
def test_a_chain_that_leads_into_itself_is_named(parents: dict[str, str], start: str, circle: str) -> None:
    with pytest.raises(ValueError, match=f"leads in a circle: {circle}. Leave it empty"):
        Chains(parents, {}).group_of(start)


def test_a_circle_in_a_table_is_named_with_its_line(tmp_path: Path) -> None:
    rows: list[Row] = [{"path": "a.png", "label": 0, "derived_from": "b.png"}]
    rows.append({"path": "b.png", "label": 1, "derived_from": "a.png"})
    with pytest.raises(ValueError, match=r"t.csv, line 2: derived_from leads in a circle: a.png → b.png → a.png"):
        packed(write(tmp_path, rows), tmp_path / "out")


def test_images_made_from_what_is_not_there_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows: list[Row] = [{"path": f"{i}.png", "label": 1, "derived_from": f"gone/{i // 2}.png"} for i in range(6)]
    found = rows_of(packed(write(tmp_path, rows), tmp_path / "out"))
    assert {row["group"] for row in found.values()} == {f"gone/{i}%2Epng" for i in range(3)}
    assert (
        "6 of 6 derived images were made from images that are not in the dataset; the first is 0%2Epng" in caplog.text
    )


def divided_rows() -> list[Row]:
    rows: list[Row] = [{"path": f"{i}.png", "label": 0, "split": "train"} for i in range(40)]
    return rows + [{"path": f"g{i}.png", "label": 1, "split": "test", "derived_from": f"{i}.png"} for i in range(40)]


def test_a_source_that_divides_its_groups_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """40 of 40 groups were divided without a word."""
    message = r"40 of 40 groups lie in several splits: 0%2Epng \(1 in (train|test), 1 in (train|test)\), .* and 37 more"
    with pytest.raises(ValueError, match=message + r".*--allow_divided_groups true packs them as they are"):
        packed(write(tmp_path, divided_rows()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_divided_groups_are_packed_where_that_is_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    src = write(tmp_path, divided_rows())
    dataset = packed(src, tmp_path / "out", allow_divided_groups=True)
    assert len(rows_of(dataset)) == 80 and "40 of 40 groups lie in several splits" in caplog.text
    assert "allow_divided_groups" not in dataset.settings  # or datasets of before could not be appended to


def test_divided_groups_of_a_dataset_are_mended_by_a_corrected_table(tmp_path: Path) -> None:
    src, out = write(tmp_path, divided_rows()), tmp_path / "out"
    packed(src, out, allow_divided_groups=True)
    with pytest.raises(ValueError, match="40 of 41 groups"):  # whatever is appended
        packed(write(tmp_path, [*divided_rows(), {"path": "new.png", "label": 0}], "more.csv"), out, append=True)
    mended = [
        {**row, "split": "test" if int(str(row["path"]).strip("g.pn")) % 2 else "train"} for row in divided_rows()
    ]
    found = rows_of(packed(write(tmp_path, mended, "t.csv"), out, append=True, update_labels=True))
    assert all(found[f"g{i}%2Epng"]["split"] == found[f"{i}%2Epng"]["split"] for i in range(40))


def test_appended_images_join_the_group_of_what_they_were_made_from(tmp_path: Path) -> None:
    rows: list[Row] = [{"path": f"{i}.png", "label": 0, "group": f"scene-{i}"} for i in range(30)]
    rows.append({"path": "copy.png", "label": 1, "derived_from": "0.png"})
    cut = {"validation_fraction": 0.3, "test_fraction": 0.3}
    packed(write(tmp_path, rows), tmp_path / "out", **cut)
    more: list[Row] = [{"path": f"g{i}.png", "label": 1, "derived_from": f"{i}.png"} for i in range(30)]
    more.append({"path": "copy-of-copy.png", "label": 1, "derived_from": "copy.png"})
    found = rows_of(packed(write(tmp_path, more, "more.csv"), tmp_path / "out", append=True, **cut))
    for i in range(30):
        assert found[f"g{i}%2Epng"]["group"] == f"scene-{i}"
        assert found[f"g{i}%2Epng"]["split"] == found[f"{i}%2Epng"]["split"]
    assert found["copy-of-copy%2Epng"]["group"] == "scene-0"


def test_tables_without_chains_keep_their_groups(tmp_path: Path) -> None:
    rows: list[Row] = [{"path": "a.png", "label": 0}, {"path": "b.png", "label": 1, "derived_from": "a.png"}]
    rows += [{"path": "c.png", "label": 1, "derived_from": "a.png", "group": "own"}, {"path": "d.png", "label": 0}]
    found = rows_of(packed(write(tmp_path, rows), tmp_path / "out", test_fraction=0, validation_fraction=0))
    groups = {key: row["group"] for key, row in found.items()}
    assert groups == {"a%2Epng": "a%2Epng", "b%2Epng": "a%2Epng", "c%2Epng": "own", "d%2Epng": "d%2Epng"}
