"""Groups that lie in several splits: found by group and by what images were made from, and told by name."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cache_schema import INDEX_SCHEMA, Dataset, DatasetError, check_whole_groups, find_divided, write_dataset
from cache_schema.__main__ import main
from cache_schema.groups import find_divided_of
from cache_schema.index import TEXT_TARS
from tests.cache_schema.conftest import fill_cache
from tests.samples import make_sample

SCHEMA = pa.schema([INDEX_SCHEMA.field(name) for name in ("key", "group", "split", "derived_from")])


def table(*rows: tuple[str, str, str, str | None]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA)


def test_whole_groups_are_not_told() -> None:
    whole = table(
        ("a", "g", "train", None), ("b", "g", "train", "a"), ("c", "h", "test", None), ("d", "h", "test", "x")
    )
    assert not find_divided(whole) and find_divided(whole).sentence() == ""
    assert not find_divided(table())


def test_divided_groups_are_counted_and_the_first_are_named_with_their_splits() -> None:
    rows = [(f"{g}/{i}", f"g{g}", "test" if i == 2 and g < 5 else "train", None) for g in range(7) for i in range(3)]
    found = find_divided(table(*rows))
    assert (found.num_groups, found.of_groups, found.num_images) == (5, 7, 0)
    named = ", ".join(f"g{g} (2 in train, 1 in test)" for g in range(3))
    assert found.sentence() == f"5 of 7 groups lie in several splits: {named} and 2 more"


def test_images_apart_from_what_they_were_made_from_are_found_in_other_groups_too() -> None:
    found = find_divided(
        table(("a", "g", "train", None), ("b", "h", "test", "a"), ("c", "i", "train", "a"), ("d", "g", "test", "a"))
    )
    assert found.sentence() == (
        "1 of 3 groups lie in several splits: g (1 in train, 1 in test); "
        "1 image lies in another split than the image of derived_from: b (test) of a (train)"
    )


@pytest.fixture
def divided(tmp_path: Path) -> Dataset:
    """Six groups of two images, two of which lie in train and in test."""
    samples = [
        make_sample(i, group=f"scene-{i // 2}", split="test" if i in (1, 3) or i > 9 else "train") for i in range(12)
    ]
    return write_dataset(tmp_path / "divided", samples, {}, max_rows=4)


def test_a_dataset_with_divided_groups_is_refused_unless_that_is_allowed(
    divided: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        DatasetError, match=r"2 of 6 groups lie in several splits: scene-0 .*--update_labels true\. --x"
    ):
        check_whole_groups(divided, allowed=False, flag="--x")
    assert "scene-1" in str(check_whole_groups(divided, allowed=True, flag="--x"))
    assert "scores count images that were trained on" in caplog.text


def test_verify_names_divided_groups(divided: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = fill_cache(tmp_path / "cache", divided)
    assert main(["verify", "--data", str(divided.folder), "--cache", str(cache.folder), "--num_workers", "1"]) == 1
    first, *_, summary = capsys.readouterr().out.splitlines()
    assert "2 of 6 groups lie in several splits: scene-0 (1 in train, 1 in test), scene-1" in first
    assert "1 problems" in summary


@pytest.mark.parametrize("seed", range(6))
def test_a_whole_index_is_found_divided_as_its_rows_say(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    num, num_groups = 90, (1000 if seed == 0 else 12)  # the first has few groups of several images
    groups = [f"g{g}" for g in rng.integers(0, num_groups, num)]
    keys = [make_sample(i).key for i in range(num)]
    parents: list[str | None] = [keys[i] if i < num else None for i in rng.integers(0, 3 * num, num)]
    parents[5] = "not there"
    samples = [
        make_sample(i, group=groups[i], split="test" if rng.random() < 0.1 * seed else "train", derived_from=parents[i])
        for i in range(num)
    ]
    dataset = write_dataset(tmp_path / "data", samples, {}, max_rows=1)  # more tars than are in memory at once
    assert len(dataset.tars) == num > 5 * TEXT_TARS
    rows = dataset.table(["key", "group", "split", "derived_from"]).to_pylist()
    splits: dict[str, Counter[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], Counter())[row["split"]] += 1
    divided = [group for group, counts in splits.items() if len(counts) > 1]
    of = {row["key"]: row for row in rows}
    pairs = [(row, of[row["derived_from"]]) for row in rows if row["derived_from"] in of]
    apart = [(a, b) for a, b in pairs if a["split"] != b["split"] and a["group"] != b["group"]]
    assert (bool(divided), bool(apart)) == (seed > 0, seed > 0)

    found = find_divided_of(dataset)
    assert found == find_divided(dataset.table())
    assert (found.num_groups, found.of_groups, found.num_images) == (len(divided), len(splits), len(apart))
    expected = [f"{g} ({splits[g]['train']} in train, {splits[g]['test']} in test)" for g in divided[:3]]
    assert list(found.groups) == expected
    assert list(found.images) == [f"{a['key']} ({a['split']}) of {b['key']} ({b['split']})" for a, b in apart[:3]]
