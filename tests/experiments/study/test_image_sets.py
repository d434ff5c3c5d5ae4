from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cache_schema import Dataset, decode_image, read_image_bytes
from experiments.study.image_sets import choose_groups, divide, read_samples, unite, with_pixels, write_some_images
from tests.experiments.small_set import write_small_set
from train.scoring.scores import Reading

GROUPS = ["a"] * 4 + ["b"] * 2 + ["c"] + ["d"] * 3


@pytest.fixture
def small(photographs: Path, tmp_path: Path) -> Dataset:
    return write_small_set(tmp_path / "small", photographs)


@pytest.mark.parametrize("limit", range(4, 11))
def test_groups_are_chosen_whole_up_to_the_limit(limit: int) -> None:
    chosen = choose_groups(GROUPS, limit)
    assert sum(group in chosen for group in GROUPS) <= limit
    assert chosen <= choose_groups(GROUPS, limit + 1) and chosen == choose_groups(GROUPS[::-1], limit)


def test_without_a_limit_all_groups_are_chosen_and_one_that_does_not_fit_is_refused() -> None:
    assert choose_groups(GROUPS, None) == choose_groups(GROUPS, 10) == {"a", "b", "c", "d"}
    with pytest.raises(ValueError, match="at most 2 images: a group of 3 images does not fit"):
        choose_groups(["a"] * 3, 2)


def test_test_images_are_those_with_a_label_and_their_photographs(small: Dataset, tmp_path: Path) -> None:
    written = write_some_images(small.folder, tmp_path / "test", None, ["test"])
    before = {row["key"]: row for row in small.table().to_pylist() if row["split"] == "test"}
    after = {row["key"]: row for row in written.table().to_pylist()}
    assert after.keys() == {key for key, row in before.items() if row["label"] is not None}
    same = ("label", "image_source", "subset", "split", "group", "derived_from", "class_name", "source_path", "sha256")
    assert all(row[name] == before[key][name] for key, row in after.items() for name in same)


def test_photographs_that_are_controls_come_with_what_was_made_from_them(photographs: Path, tmp_path: Path) -> None:
    matched = write_small_set(tmp_path / "matched", photographs, is_matched=True)
    rows = {row["key"]: row for row in matched.table().to_pylist()}
    kept = write_some_images(matched.folder, tmp_path / "test", 9, ["test"]).table()["key"].to_pylist()
    sources = [rows[key]["image_source"] for key in kept]
    assert 0 < len(kept) - sources.count("real") <= 9 and sources.count("real") == sources.count("derived") > 0
    assert all(rows[key]["derived_from"] in {None, *kept} for key in kept)


def test_united_datasets_are_divided_again(small: Dataset, tmp_path: Path) -> None:
    test = write_some_images(small.folder, tmp_path / "test", None, ["test"])
    united = unite({"as they are": test.folder, "jpeg:3": test.folder}, tmp_path / "united")
    rows = united.table().to_pylist()
    by_name = {row["key"]: row for row in rows}
    for row in rows:
        if row["derived_from"]:
            assert by_name[row["derived_from"]]["image_source"] == "real"
    scores = np.arange(len(rows), dtype=float)[None]
    parts = divide(Reading(united.table(), scores, (None,), is_probability=False), ["as they are", "jpeg:3", "other"])
    keys = test.table()["key"].to_pylist()
    assert [parts[name].table["key"].to_pylist() for name in parts] == [keys, keys, []]
    assert parts["jpeg:3"].scores.tolist() == [list(range(len(keys), 2 * len(keys)))]
    assert isinstance(parts["other"].table["key"].type, type(pa.string()))


def test_samples_are_read_as_they_are_packed_and_given_other_pixels(small: Dataset) -> None:
    first = next(read_samples(small))
    assert read_image_bytes(small.tar_path(0), *small.rows(0).select(["offset", "size"]).to_pylist()[0].values()) == (
        first.image
    )
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    changed = with_pixels(first, "other/key", pixels)
    assert np.array_equal(np.asarray(decode_image(changed.image)), pixels) and changed.key == "other/key"
    assert (changed.fields.width, changed.fields.height, changed.fields.format) == (5, 3, "PNG")
    assert changed.fields.group == first.fields.group
