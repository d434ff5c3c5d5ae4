"""The matrix, trained on one image source and tested on each: means over seeds, as numbers and as text tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import shown

ALL = "all"
"""Row that is trained on every source together, unless a source has this name: see `name_all`."""
METRICS = {
    "balanced_accuracy_at_val_threshold": "balanced accuracy at the threshold from validation",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "accuracy_at_val_threshold": "accuracy at the threshold from validation",
    "accuracy": "accuracy at 0.5",
}
"""In the order in which they are shown. Accuracies move with the share of generated images, balanced ones do not."""
CORNER = "trained on \\ tested on"


def name_all(sources: Iterable[str]) -> str:
    """Name of the row that is trained on every source together: `ALL`, made longer where a source is called so."""
    taken, name = set(sources), ALL
    while name in taken:
        name += " together"
    return name


def choose_rows(index: pa.Table, sources: Sequence[str] | None) -> list[str]:
    """The sources to train on, in the order given, or all that training samples have, sorted.

    Raises:
        ValueError: If a source has no training sample.
    """
    train = index.filter(pc.and_(pc.equal(index["split"], "train"), pc.equal(index["label"], 1)))
    known = sorted(train["image_source"].unique().to_pylist())
    if sources is None:
        return known
    together = name_all(index["image_source"].unique().to_pylist())
    if unknown := sorted(set(sources) - {*known, together}):
        raise ValueError(
            f"sources names {unknown}: training samples are of {known}; {together!r} is every one of them together"
        )
    return list(dict.fromkeys(sources))


def select_training(index: pa.Table, row: str) -> tuple[np.ndarray, np.ndarray]:
    """The images that a row is trained, or validated, on: masks of the real and of the generated ones of all splits.

    Args:
        index: label, image_source and subset of all samples.
        row: As `choose_rows` gives it.
    """
    labels = pc.fill_null(index["label"], -1).to_numpy()
    source, subset = (index[name].to_numpy() for name in ("image_source", "subset"))
    is_all = row == name_all(np.unique(source))
    generated = (labels == 1) & ((source == row) | is_all)
    return (labels == 0) & (np.isin(subset, np.unique(subset[generated])) | is_all), generated


def count_training(index: pa.Table, row: str) -> int:
    """Number of images that a row is trained on."""
    real, generated = select_training(index, row)
    return int(((real | generated) & (index["split"].to_numpy() == "train")).sum())


def check_rows(index: pa.Table, rows: Sequence[str], predict_split: str) -> None:
    """Check before the first fit what the fits and the last step would refuse.

    Args:
        index: split, label, image_source and subset of all samples.
        rows: From `choose_rows`.
        predict_split: The split that is scored.

    Raises:
        ValueError: With all that is missing: a class to train or validate on, for a row; generated images to score, or
            the real ones of a source's subset.
    """
    labels = pc.fill_null(index["label"], -1).to_numpy()
    split, source, subset = (index[name].to_numpy() for name in ("split", "image_source", "subset"))
    missing = []
    for row in rows:
        kinds = dict(zip(("real", "generated"), select_training(index, row), strict=True))
        for name in ("train", "validation"):
            for kind, chosen in kinds.items():
                if not (chosen & (split == name)).any():
                    missing.append(f"{row} has no {kind} images in {name}")
    scored = split == predict_split
    for name in sorted(set(source[scored & (labels == 1)])):
        subsets = np.unique(subset[scored & (labels == 1) & (source == name)])
        if not (scored & (labels == 0) & np.isin(subset, subsets)).any():
            missing.append(f"{name} has no real images of its subset {', '.join(subsets)} in {predict_split}")
    if not (scored & (labels == 1)).any():
        missing.append(f"there are no generated images in {predict_split}")
    if missing:
        raise ValueError(
            f"{'; '.join(missing)}. Leave such sources out with --sources, or pack again: see validation_fraction, "
            "test_fraction and seed"
        )


def add_up(
    scored: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    together: str | None = None,
    seeds: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Means and standard deviations over seeds.

    Args:
        scored: Row (trained on) → column (tested on) → metrics of each seed.
        together: The row of all sources; None: as `name_all` says for the columns.
        seeds: Row → its seeds, in the order of the metrics; None: all rows have the same ones.

    Returns:
        "rows", "columns", and under "metrics" for each of `METRICS`: "cells" (rows × columns), "row_means" (over
        columns), "diagonal" and "off_diagonal" (over cells whose row is, is not their column, and the seeds that all
        rows have; null without such); each a {"mean", "sd"} over seeds, sd null for one seed. A row of all sources is
        not off the diagonal.
    """
    rows, columns = list(scored), sorted({column for row in scored.values() for column in row})
    together = name_all(columns) if together is None else together
    of_row = {row: list((seeds or {}).get(row, range(len(next(iter(scored[row].values()), ()))))) for row in rows}
    common = sorted(set.intersection(*map(set, of_row.values()))) if rows else []
    is_same = np.array([[row == column for column in columns] for row in rows])
    is_other = ~is_same & np.array([[row != together] for row in rows])
    result = {}
    for name in METRICS:
        values = [[[seed[name] for seed in scored[row][column]] for column in columns] for row in rows]
        if any(value is None for row in values for cell in row for value in cell):  # a metric that is not defined
            continue
        shared = np.array(
            [
                [[cell[of_row[row].index(seed)] for seed in common] for cell in cells]
                for row, cells in zip(rows, values, strict=True)
            ]
        )
        result[name] = {
            "cells": [[_mean_and_sd(np.array(cell)) for cell in row] for row in values],
            "row_means": [_mean_and_sd(np.mean(row, axis=0)) for row in values],
            "diagonal": _mean_and_sd(shared[is_same].mean(axis=0)) if common and is_same.any() else None,
            "off_diagonal": _mean_and_sd(shared[is_other].mean(axis=0)) if common and is_other.any() else None,
        }
    return {"rows": rows, "columns": columns, "metrics": result}


def _mean_and_sd(seeds: np.ndarray) -> dict[str, float | None]:
    sd = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None
    return {"mean": float(np.mean(seeds)), "sd": sd}


def format_matrix(matrix: Mapping[str, Any]) -> str:
    """matrix.json as text tables, one a metric: trained on the row, tested on the column."""
    lines, rows = [], [shown(name) for name in matrix["rows"]]
    if divided := matrix.get("settings", {}).get("divided_groups"):
        lines.append(f"scores count images that were trained on: {shown(divided, None)}")
    columns = [*(repr(name) if name == "mean" else shown(name) for name in matrix["columns"]), "mean"]
    first = max(len(name) for name in [*rows, CORNER])
    widths = [max(len(name), 11) for name in columns]
    for name, values in matrix["metrics"].items():
        heads = [f"{head:>{width}}" for head, width in zip(columns, widths, strict=True)]
        lines += [f"\n{METRICS[name]}", f"{CORNER:<{first}}  " + "  ".join(heads)]
        for row, cells, mean in zip(rows, values["cells"], values["row_means"], strict=True):
            numbers = [f"{format_cell(cell):>{width}}" for cell, width in zip([*cells, mean], widths, strict=True)]
            lines.append(f"{row:<{first}}  " + "  ".join(numbers))
        for key, text in (("diagonal", "mean of the diagonal"), ("off_diagonal", "mean off the diagonal")):
            if values[key]:
                lines.append(f"{text:<{first}}  {format_cell(values[key]):>{widths[0]}}")
    counts = {row: len(seeds) for row, seeds in matrix.get("seeds", {}).items()}
    if len(set(counts.values())) > 1:
        lines.append(f"\nseeds so far: {', '.join(f'{shown(row)} {count}' for row, count in counts.items())}")
    return "\n".join(lines).lstrip("\n") + "\n"


def format_cell(cell: Mapping[str, float | None]) -> str:
    """Mean and standard deviation, "0.912 ±0.013"; the latter only for several seeds."""
    return f"{cell['mean']:.3f}" + ("" if cell["sd"] is None else f" ±{cell['sd']:.3f}")
