"""Saved predictions as readings.

A *reading* is a way to score images: a model's variant (one predictions file a seed), or a score without a model.
Labels and sources come from the dataset's index; a predictions file brings rows, keys and scores.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from train.commands.prediction_writer import ALLOWED_DIFFERENCES, CALIBRATION, THRESHOLD
from train.scoring.calibration import Calibration, fit_calibration
from train.scoring.readings import COLUMNS


@dataclass(frozen=True)
class Reading:
    """Scores of the same samples under one or more seeds.

    Attributes:
        table: `COLUMNS` of the index for each sample.
        scores: (seeds, samples), float64, higher for generated.
        calibrations: What was fitted on validation for each seed, or None where nothing was.
        is_probability: Whether scores are probabilities; otherwise accuracy at 0.5 would mean nothing.
        allowed_differences: How the features differed from those trained on, for each seed a line a field.
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
        ValueError: If an item is not NAME=FILE, or the file is not there.
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


def load_reading(index: pa.Table, paths: Sequence[Path], validation: Sequence[Path] = ()) -> Reading:
    """Read the predictions of a reading.

    Args:
        index: The dataset's index, at least `COLUMNS`.
        paths: A predictions file for each seed, all of the same samples.
        validation: Predictions on validation samples for each seed, to fit its calibration on. Without them a file's
            own is used: the one stored with the weights.

    Raises:
        ValueError: If a file does not belong to the index, holds a score that is not finite, samples differ between
            seeds, or not every seed has its validation file.
    """
    if validation and len(validation) != len(paths):
        raise ValueError(f"{len(paths)} predictions files, but {len(validation)} of validation: expected one for each")
    files = [_read_predictions(index, path) for path in paths]
    rows = files[0]["row"]
    for path, file in zip(paths, files, strict=True):
        if not file["row"].equals(rows):
            raise ValueError(f"{path} and {paths[0]} hold different samples: seeds must score the same ones")
    fitted = [_fit_calibration(index, path) for path in validation]
    return Reading(
        table=index.select(COLUMNS).take(rows),
        scores=np.stack([file["score"].to_numpy() for file in files]),
        calibrations=tuple(fitted or [_stored_calibration(file) for file in files]),
        is_probability=all(map(_is_probability, files)),
        allowed_differences=tuple(tuple(json.loads(_metadata(file, ALLOWED_DIFFERENCES) or "[]")) for file in files),
    )


def _read_predictions(index: pa.Table, path: Path) -> pa.Table:
    """A predictions file, checked against the index; raises ValueError as `load_reading` does."""
    table = pq.read_table(path).sort_by("row")
    if not len(table):
        raise ValueError(f"{path} holds no predictions")
    rows = table["row"].to_numpy()
    if (np.diff(rows) == 0).any():
        raise ValueError(f"{path} holds a sample more than once")
    if rows[0] < 0 or rows[-1] >= len(index) or not index["key"].take(rows).equals(table["key"]):
        raise ValueError(f"{path} was made from another dataset: its keys are not those of the index's rows")
    num_bad = int((~np.isfinite(table["score"].to_numpy())).sum())
    if num_bad:
        raise ValueError(f"{path}: {num_bad} of {len(table)} scores are not finite")
    return table


def _metadata(predictions: pa.Table, name: bytes) -> str | None:
    value = (predictions.schema.metadata or {}).get(name)
    return None if value is None else value.decode()


def _is_probability(predictions: pa.Table) -> bool:
    return "logit_generated" in predictions.column_names


def _stored_calibration(predictions: pa.Table) -> Calibration | None:
    if stored := _metadata(predictions, CALIBRATION):
        return Calibration.from_dict(json.loads(stored))
    threshold = _metadata(predictions, THRESHOLD)
    return None if threshold is None else Calibration(float(threshold))


def _fit_calibration(index: pa.Table, path: Path) -> Calibration:
    """What the labelled samples of a validation predictions file say."""
    table = _read_predictions(index, path)
    rows = table["row"].to_numpy()
    splits = index["split"].take(rows).unique().to_pylist()
    if splits != ["validation"]:
        raise ValueError(f"{path} holds samples of {', '.join(splits)}: a threshold is chosen on validation alone")
    labels = pc.fill_null(index["label"].take(rows), -1).to_numpy()
    known = labels >= 0
    scores = torch.from_numpy(table["score"].to_numpy()[known])
    return fit_calibration(scores, torch.from_numpy(labels[known]), is_probability=_is_probability(table))
