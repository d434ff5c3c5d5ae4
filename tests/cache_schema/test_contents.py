"""The table of what a dataset holds."""

from collections import Counter
from pathlib import Path

from cache_schema import Dataset, contents_table, count_images, write_dataset
from cache_schema.contents import MAX_LINES, Cell
from tests.samples import make_sample


def test_images_are_counted_by_subset_source_class_and_split(tmp_path: Path) -> None:
    samples = [make_sample(i, split=split) for i, split in enumerate(["train"] * 5 + ["test"] * 3)]
    samples.append(make_sample(9, label=None, image_source="blurred", source_path="blurred/9.png", subset="other"))
    assert count_images(write_dataset(tmp_path / "data", samples, {})) == {
        ("toy", "real", 0, "train"): 3,
        ("toy", "toy", 1, "train"): 2,
        ("toy", "real", 0, "test"): 1,
        ("toy", "toy", 1, "test"): 2,
        ("other", "blurred", None, "train"): 1,
    }


def test_table_has_a_line_a_source_and_a_sum_a_class() -> None:
    counts: Counter[Cell] = Counter()
    for source, label, number in (("real", 0, 1234567), ("sdv5", 1, 42)):
        counts["genimage", source, label, "train"] = number
    counts["genimage", "real", 0, "test"] = 1
    assert contents_table(counts).splitlines() == [
        "subset    image source  class          train  validation  test        all",
        "genimage  real          real       1,234,567           0     1  1,234,568",
        "genimage  sdv5          generated         42           0     0         42",
        "all       all           real       1,234,567           0     1  1,234,568",
        "all       all           generated         42           0     0         42",
    ]


def test_sources_beyond_the_largest_are_one_line() -> None:
    counts: Counter[Cell] = Counter({("s", f"g{i:04d}", 1, "train"): i for i in range(1, 1001)})
    lines = contents_table(counts).splitlines()
    assert len(lines) == 1 + MAX_LINES + 2
    assert "g1000" in lines[MAX_LINES] and "g0961" in lines[1]
    rest = sum(range(1, 1001 - MAX_LINES))
    assert lines[-2].split() == ["…", "and", "960", "more", f"{rest:,}", "0", "0", f"{rest:,}"]
    assert lines[-1].split()[-1] == f"{sum(range(1001)):,}"


def test_names_of_a_stranger_are_shown_as_text_of_bounded_length() -> None:
    counts: Counter[Cell] = Counter({("s\x1b[31m", "n" * 500, 1, "train"): 1, ("s\nall", "x", 7, "train"): 1})
    table = contents_table(counts)
    assert "\x1b" not in table and r"s\x1b[31m" in table and r"s\nall" in table
    assert max(map(len, table.splitlines())) < 150 and "label 7" in table


def test_table_of_a_dataset_without_images() -> None:
    assert contents_table(Counter()).splitlines() == ["subset  image source  class  train  validation  test  all"]


def test_counts_are_those_of_the_listed_tars(dataset: Dataset) -> None:
    assert count_images(dataset).total() == sum(tar.num_rows for tar in dataset.tars)
