"""Saved predictions as readings.

A *reading* is a way to score images: a model's variant (one predictions file a seed), or a score without a model.
Labels and sources come from the dataset's index; a predictions file brings rows, keys and scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from train.scoring.calibration import Calibration, fit_calibration
from train.scoring.prediction_file import (
    COLUMNS,
    Index,
    allowed_differences,
    is_probability,
    read_predictions,
    stored_calibration,
)


@dataclass(frozen=True)
class Reading:
    """Scores of samples under one or more seeds.

    Attributes:
        table: `COLUMNS` of the index for each sample, and `sha256` where the index was read with it.
        scores: (seeds, samples), float64, higher for generated.
        calibrations: What was fitted on validation for each seed, or None where nothing was.
        is_probability: Whether scores are probabilities; otherwise accuracy at 0.5 would mean nothing.
        allowed_differences: How the features differed from training, for each seed a line a field.
    """

    table: pa.Table
    scores: NDArray[np.float64]
    calibrations: tuple[Calibration | None, ...]
    is_probability: bool
    allowed_differences: tuple[tuple[str, ...], ...] = ()

    @property
    def thresholds(self) -> tuple[float | None, ...]:
        """Threshold of each seed."""
        return tuple(None if fitted is None else fitted.threshold for fitted in self.calibrations)


def parse_named_files(items: Sequence[str]) -> dict[str, list[Path]]:
    """["full=a", "full=b", "mean_lare=c"] as name → files, in the order given.

    Raises:
        ValueError: If an item is not NAME=FILE, or the file is missing.
    """
    named: dict[str, list[Path]] = {}
    for item in items:
        name, separator, path = item.partition("=")
        if not (name and separator and path):
            raise ValueError(f"{item!r}: expected NAME=FILE")
        if not Path(path).is_file():
            raise ValueError(f"{item!r}: there is no file {path}")
        named.setdefault(name, []).append(Path(path))
    return named


def load_reading(index: Index, paths: Sequence[Path], validation: Sequence[Path] = ()) -> Reading:
    """Read the predictions of a reading.

    Args:
        index: The dataset's index, at least `COLUMNS`, and `sha256` if copies are to be known.
        paths: A prediction file for each seed, all of one list of samples.
        validation: Predictions on validation samples for each seed, to fit its calibration on. Without them a file's
            own is used: the one stored with the weights.

    Raises:
        ValueError: If a file does not belong to the index, holds a score that is not finite, samples differ between
            seeds, or not every seed has its validation file.
    """
    if validation and len(validation) != len(paths):
        raise ValueError(f"{len(paths)} predictions files, but {len(validation)} of validation: expected one for each")
    files = [read_predictions(index, path) for path in paths]
    rows = files[0]["row"]
    for path, file in zip(paths, files, strict=True):
        if not file["row"].equals(rows):
            raise ValueError(f"{path} and {paths[0]} hold different samples: seeds must score the same ones")
    fitted = [_fit_calibration(index, path) for path in validation]
    return Reading(
        table=index.select([*COLUMNS, *({"sha256"} & set(index.column_names))]).take(rows),
        scores=np.stack([file["score"].to_numpy() for file in files]),
        calibrations=tuple(fitted or [stored_calibration(file) for file in files]),
        is_probability=all(map(is_probability, files)),
        allowed_differences=tuple(map(allowed_differences, files)),
    )


def check_samples(readings: Mapping[str, Reading], split: str) -> None:
    """Refuse readings of another split, and readings of different samples: their numbers would not be comparable.

    Raises:
        ValueError: With the reading, and what was found.
    """
    for name, reading in readings.items():
        found = sorted(set(reading.table["split"].to_pylist()) - {split})
        if found:
            raise ValueError(
                f"{name} scores samples of {' and '.join(found)}: expected {split} alone. "
                f"To score another split, which tells nothing about new images: --split {found[0]}"
            )
    first, *others = readings
    for name in others:
        if readings[name].table["key"] != readings[first].table["key"]:
            raise ValueError(
                f"{name} scores {len(readings[name].table):,} samples, and {first} {len(readings[first].table):,}, "
                "which are not the same ones: write both from the same dataset and split"
            )


def _fit_calibration(index: Index, path: Path) -> Calibration:
    """What the labelled samples of a validation predictions file say."""
    table = read_predictions(index, path)
    rows = table["row"].to_numpy()
    known = index.select(["split", "label"]).take(rows)
    splits = known["split"].unique().to_pylist()
    if splits != ["validation"]:
        raise ValueError(f"{path} holds samples of {', '.join(splits)}: a threshold is chosen on validation alone")
    labels = pc.fill_null(known["label"], -1).to_numpy()
    is_known = labels >= 0
    scores = torch.from_numpy(table["score"].to_numpy()[is_known])
    return fit_calibration(scores, torch.from_numpy(labels[is_known]), is_probability=is_probability(table))
