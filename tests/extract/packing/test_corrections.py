"""A source that says something else of images that are packed: refused, or written into the index alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache_schema import Dataset, check_join, store_name
from cache_schema.__main__ import main as check
from cache_schema.files import publish
from extract.__main__ import main
from extract.packing.pack import PackConfig, pack
from tests.cache_schema.conftest import fill_cache
from tests.extract.packing.test_pack import contents, rows_of, save

COLUMNS = ("path", "label", "image_source", "subset", "split", "group", "derived_from", "class_name")
NUM = 8


def write_table(src: Path, **changes: dict[int, str]) -> None:
    """A table of all images, with other values in some rows."""
    lines = [",".join(COLUMNS)]
    for i in range(NUM):
        row = {"path": f"{i}.png", "label": str(i % 2), "image_source": "toy" if i % 2 else "real", "subset": "s"}
        row |= {"split": "train" if i < 4 else "", "group": f"g{i}", "derived_from": "", "class_name": "tench"}
        row |= {name: values[i] for name, values in changes.items() if i in values}
        lines.append(",".join(row[name] for name in COLUMNS))
    (src / "t.csv").write_text("\n".join(lines))


@pytest.fixture
def config(tmp_path: Path) -> PackConfig:
    """A packed table that is appended to."""
    for i in range(NUM):
        save(tmp_path / "src" / f"{i}.png", i)
    write_table(tmp_path / "src")
    config = PackConfig(tmp_path / "src" / "t.csv", tmp_path / "out", num_workers=1, max_rows=3)
    pack(config)
    return replace(config, append=True)


CHANGES: dict[str, tuple[dict[str, dict[int, str]], Any, Any]] = {
    "label": ({"label": {1: ""}}, 1, None),
    "image_source": ({"image_source": {1: "flux"}}, "toy", "flux"),
    "subset": ({"subset": {1: "t"}}, "s", "t"),
    "split": ({"split": {1: "test"}}, "train", "test"),
    "group": ({"group": {1: "g0"}}, "g1", "g0"),
    "derived_from": ({"derived_from": {1: "0.png"}}, None, "0%2Epng"),
    "class_name": ({"class_name": {1: ""}}, "tench", None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_field_is_refused_and_then_updated_in_the_index_alone(config: PackConfig, name: str) -> None:
    changes, old, new = CHANGES[name]
    write_table(config.src.parent, **changes)
    before, first = contents(config.out), Dataset.open(config.out)
    message = (
        rf"1 of 8 images that are there already: {name} of 1; the first is 1\.png, {name} {old!r} in the dataset and"
    )
    with pytest.raises(ValueError, match=message):
        pack(config)
    assert contents(config.out) == before
    grown = pack(replace(config, update_labels=True))
    expected = rows_of(first)
    expected["1%2Epng"][name] = new
    assert rows_of(grown) == expected and grown.updated == (name,)
    assert (grown.tars, grown.dataset_id, grown.settings) == (first.tars, first.dataset_id, first.settings)
    assert all(contents(config.out)[file] == data for file, data in before.items() if file.endswith(".tar"))
    after = contents(config.out)
    assert pack(config) == grown and contents(config.out) == after


def test_differences_are_counted_and_the_first_is_shown(config: PackConfig, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(config.src.parent, label={1: "", 3: "", 5: ""}, image_source={1: "x", 3: "x", 5: "x"}, group={0: "g9"})
    arguments = [f"--src={config.src}", f"--out={config.out}", "--append=true", "--max_rows=3"]
    assert main(["pack", *arguments]) == 1
    text = capsys.readouterr().err
    assert "4 of 8 images that are there already: label of 3, image_source of 3, group of 1; the first is " in text
    assert "Pass --update_labels true to write that into the index" in text
    assert main(["pack", *arguments, "--update_labels=true"]) == 0
    counts: dict[str, int] = {}
    for sources in Dataset.open(config.out).counts.values():
        for source, count in sources.items():
            counts[source] = counts.get(source, 0) + count
    assert counts == {"real": 4, "x": 3, "toy": 1}


def test_new_images_come_in_the_same_run(config: PackConfig) -> None:
    save(config.src.parent / "new.png", 100)
    write_table(config.src.parent, class_name={2: "goldfish"})
    with config.src.open("a") as table:
        table.write("\nnew.png,0,real,s,train,,,tench\n")
    with pytest.raises(ValueError, match="class_name of 1"):
        pack(config)
    rows = rows_of(pack(replace(config, update_labels=True)))
    assert len(rows) == NUM + 1 and rows["2%2Epng"]["class_name"] == "goldfish" and rows["new%2Epng"]["label"] == 0


def test_copies_are_compared_by_their_fields_too(config: PackConfig, tmp_path: Path) -> None:
    copies = replace(config, out=tmp_path / "copies", degrade="jpeg:65", append=False)
    pack(copies)
    write_table(config.src.parent, subset={1: "t"})
    with pytest.raises(ValueError, match="subset of 1"):
        pack(replace(copies, append=True))
    grown = pack(replace(copies, append=True, update_labels=True))
    assert rows_of(grown)["1%2Epng"]["subset"] == "t" and sum(tar.num_rows for tar in grown.tars) == NUM


def test_a_cut_that_another_source_would_not_make_is_no_correction(tmp_path: Path) -> None:
    """Whether a source has a validation split decides the cut of its other images, not what it says of them."""
    for i in range(20):
        save(tmp_path / "src" / f"{i}.png", i)
    lines = [f"{i}.png,0,{'validation' if i == 0 else 'train'}" for i in range(20)]
    (tmp_path / "src" / "t.csv").write_text("\n".join(["path,label,split", *lines]))
    config = PackConfig(tmp_path / "src" / "t.csv", tmp_path / "out", num_workers=1, validation_fraction=0.5)
    dataset = pack(config)
    config.src.write_text("\n".join(["path,label,split", *lines[1:]]))
    assert pack(replace(config, append=True)) == dataset


def test_caches_stay_valid_and_verify_has_nothing_to_say(
    config: PackConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = fill_cache(tmp_path / "cache", Dataset.open(config.out))
    write_table(config.src.parent, label={1: ""}, split={3: "test"})
    grown = pack(replace(config, update_labels=True))
    command = ["verify", "--data", str(config.out), "--cache", str(cache.folder), "--num_workers", "1", "--deep"]
    assert check(command) == 0
    assert "0 problems, 0 warnings" in capsys.readouterr().out
    for n, entry in enumerate(grown.tars):
        check_join(cache.read(store_name(entry.name)), grown.rows(n), entry)


def test_an_update_that_is_cut_off_is_finished_by_the_same_call(
    config: PackConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(config.src.parent, image_source={1: "x"})
    whole = replace(config, update_labels=True)
    first = contents(config.out)["index.parquet"]

    def stop(temporary: Path, path: Path) -> None:
        if path.name == "index.parquet":
            raise KeyboardInterrupt
        publish(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr("cache_schema.updating.publish", stop)
        with pytest.raises(KeyboardInterrupt):
            pack(whole)
    assert contents(config.out)["index.parquet"] == first
    grown = pack(whole)
    assert rows_of(grown)["1%2Epng"]["image_source"] == "x"
    assert sum(sources.get("x", 0) for sources in grown.counts.values()) == 1


def test_updating_needs_a_dataset_that_is_there(config: PackConfig) -> None:
    with pytest.raises(ValueError, match="update_labels is true and append is false"):
        replace(config, append=False, update_labels=True)
