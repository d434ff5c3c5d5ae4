"""What a dataset holds: its images counted by subset, image source, class and split, as a table for people."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from cache_schema.index import INDEX_SCHEMA, Dataset
from cache_schema.keys import SPLITS
from cache_schema.shown import shown

CLASSES = {0: "real", 1: "generated", None: "control"}
"""Label → class."""
MAX_LINES = 40
"""Lines of a table; a dataset may have thousands of image sources."""
MAX_NAME = 40
"""Characters of a name that a table shows."""

Cell = tuple[str, str, int | None, str]
"""Subset, image source, label and split."""


def count_images(dataset: Dataset) -> Counter[Cell]:
    """Images of a dataset, from its index.

    Raises:
        DatasetError: If the index cannot be read.
    """
    names = ["subset", "image_source", "label", "split"]
    counts: Counter[Cell] = Counter()
    for _, table in dataset.scan(names):
        plain = table.cast(pa.schema([INDEX_SCHEMA.field(name) for name in names]))
        for row in plain.group_by(names).aggregate([([], "count_all")]).to_pylist():
            counts[row["subset"], row["image_source"], row["label"], row["split"]] += row["count_all"]
    return counts


def contents_table(counts: Counter[Cell]) -> str:
    """Lines of subset, image source, class, and the number of images in each split; then a sum for each class.

    Of more than `MAX_LINES` those with the most images are shown, and the others are summed up in one line.
    """
    lines: dict[tuple[str, str, int | None], Counter[str]] = {}
    for (subset, source, label, split), number in counts.items():
        lines.setdefault((subset, source, label), Counter())[split] += number
    by_size = sorted(lines, key=lambda line: (-lines[line].total(), _order(line)))
    largest = sorted(by_size[:MAX_LINES], key=_order)
    rows: list[Sequence[str]] = [("subset", "image source", "class", *SPLITS, "all")]
    for line in largest:
        rows.append((shown(line[0], MAX_NAME), shown(line[1], MAX_NAME), _class(line[2]), *_numbers(lines[line])))
    if rest := by_size[MAX_LINES:]:
        others = sum((lines[line] for line in rest), Counter[str]())
        rows.append(("…", f"and {len(rest):,} more", "", *_numbers(others)))
    for label in sorted({line[2] for line in lines}, key=_rank):
        of_class = sum((lines[line] for line in lines if line[2] == label), Counter[str]())
        rows.append(("all", "all", _class(label), *_numbers(of_class)))
    return align(rows, num_texts=3)


def align(rows: Sequence[Sequence[str]], num_texts: int) -> str:
    """Rows of equal length as lines whose columns are aligned: the first to the left, the others to the right.

    Args:
        rows: At least one.
        num_texts: Columns that are aligned to the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        texts = [text.ljust(width) for text, width in zip(row[:num_texts], widths, strict=False)]
        numbers = [text.rjust(width) for text, width in zip(row[num_texts:], widths[num_texts:], strict=True)]
        lines.append("  ".join([*texts, *numbers]).rstrip() + "\n")
    return "".join(lines)


def _order(line: tuple[str, str, int | None]) -> tuple[str, int, str]:
    subset, source, label = line
    return subset, _rank(label), source


def _rank(label: int | None) -> int:
    return 2 if label is None else label


def _class(label: int | None) -> str:
    return CLASSES.get(label, f"label {label}")  # a stranger's index may have any


def _numbers(counts: Counter[str]) -> list[str]:
    return [f"{number:,}" for number in (*(counts[split] for split in SPLITS), counts.total())]
