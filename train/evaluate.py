"""From saved predictions to results.json, without a model in memory.

A *reading* is a way to score images: a model's variant (one predictions file a seed), or a score without a model.
Labels and sources come from the dataset's index; a predictions file brings rows, keys and scores.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from train import metrics
from train.calibration import COVERAGES, Calibration, fit_calibration
from train.predictions import ALLOWED_DIFFERENCES, CALIBRATION, THRESHOLD
from train.readings import COLUMNS

ROUNDTRIP_PREFIX = "vae-roundtrip"  # of the control that was encoded and decoded without diffusion
PAIRED_READING = "mean_lare"
Result = dict[str, Any]


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


def evaluate(readings: Mapping[str, Reading], num_resamples: int = 1000, seed: int = 0) -> Result:
    """Score every image source and every control of each reading against the real images of its own subset.

    A control is a derived image without a label (a VAE round trip, a blurred photograph); it stands in the generated
    class's place, in its own block, and is not in the mean. Where a reading has several seeds, metrics are their mean,
    `auroc_sd` the standard deviation of their AUROCs, and `auroc_interval` that of the mean AUROC. Intervals resample
    groups. `calibration_error` is that of the scores as they are, `calibration_error_with_temperature` that after
    division by the temperature from validation. `unsure` has a row for each share of validation samples that was to
    be answered: the share that is, and the accuracy at the threshold from validation on those.
    null stands for what is not defined: accuracies at 0.5 of scores that are no probabilities, accuracy at a
    threshold that was not chosen, the sd of one seed, the interval of a mean over sources.

    Returns:
        "readings" and "pairs" of results.json.

    Raises:
        ValueError: If a source has no real images in its subset.
    """
    scored = {}
    for name, reading in readings.items():
        sources = _score_sources(reading, 1, num_resamples, seed)
        controls = _score_sources(reading, None, num_resamples, seed)
        mean = _mean_over_sources(list(sources.values()))
        scored[name] = {
            "sources": {source: block for source, (block, _) in sources.items()},
            "controls": {source: block for source, (block, _) in controls.items()},
            "mean": mean,
        }
    paired = readings.get(PAIRED_READING)
    return {"readings": scored, "pairs": compare_pairs(paired) if paired is not None else {}}


def compare_pairs(reading: Reading) -> dict[str, Result]:
    """How often an image derived from a photograph has a lower mean LaRE than that photograph, and than its round trip.

    Args:
        reading: Of minus the mean LaRE.

    Returns:
        Image source or control → lower_than_photo (share), n (images whose photograph was scored), lower_than_roundtrip
        (share of those whose photograph has a scored round trip; null without any, and for round trips themselves).
        With several round trips the first by name counts.
    """
    columns = reading.table.select(["key", "image_source", "derived_from"]).to_pydict()
    mean_lare = dict(zip(columns["key"], -reading.scores.mean(axis=0), strict=True))
    derived = [
        (source, photo, mean_lare[key])
        for key, source, photo in zip(columns["key"], columns["image_source"], columns["derived_from"], strict=True)
        if photo in mean_lare
    ]
    roundtrips = sorted({source for source, _, _ in derived if source.startswith(ROUNDTRIP_PREFIX)})
    roundtrip = {photo: value for source, photo, value in derived if source in roundtrips[:1]}
    result = {}
    for name in sorted({source for source, _, _ in derived}):
        own = [(photo, value) for source, photo, value in derived if source == name]
        others = [] if name in roundtrips else [(p, value) for p, value in own if p in roundtrip]
        result[name] = {
            "lower_than_photo": _share(value < mean_lare[photo] for photo, value in own),
            "lower_than_roundtrip": _share(value < roundtrip[photo] for photo, value in others),
            "n": len(own),
        }
    return result


def _share(statements: Any) -> float | None:
    values = list(statements)
    return float(np.mean(values)) if values else None


def _score_sources(
    reading: Reading, label: int | None, num_resamples: int, seed: int
) -> dict[str, tuple[Result, NDArray[np.float64]]]:
    """Image source → its block and the AUROC of each seed, for generated sources (label 1) or controls (None)."""
    labels = pc.fill_null(reading.table["label"], -1).to_numpy()
    source, subset = (reading.table[name].to_numpy() for name in ("image_source", "subset"))
    is_fake = labels == (-1 if label is None else label)
    result = {}
    for name in sorted(set(source[is_fake])):
        fake = is_fake & (source == name)
        real = (labels == 0) & np.isin(subset, np.unique(subset[fake]).tolist())
        if not real.any():
            raise ValueError(f"{name} has no real images in its subset {', '.join(sorted(set(subset[fake])))}")
        result[name] = _score(reading, np.flatnonzero(real | fake), fake, num_resamples, seed)
    return result


def _score(
    reading: Reading, chosen: NDArray[np.intp], is_fake: NDArray[np.bool_], num_resamples: int, seed: int
) -> tuple[Result, NDArray[np.float64]]:
    """Block of results of the chosen samples, and the AUROC of each seed."""
    labels = is_fake[chosen].astype(np.int64)
    scores = reading.scores.take(chosen, axis=1)
    groups = reading.table["group"].take(chosen).to_numpy()
    per_seed = [
        _score_seed(torch.from_numpy(row), torch.from_numpy(labels), fitted, reading.is_probability)
        for row, fitted in zip(scores, reading.calibrations, strict=True)
    ]
    resampled = metrics.bootstrap_auroc(scores, labels, groups, num_resamples, seed).mean(axis=1)
    low, high = metrics.interval(resampled)
    block: Result = {name: _mean([values[name] for values in per_seed]) for name in per_seed[0]}
    aurocs = np.array([values["auroc"] for values in per_seed])
    block |= {
        "n_real": int((labels == 0).sum()),
        "n_generated": int(labels.sum()),
        "auroc_interval": None if np.isnan(low) else [low, high],
        "auroc_sd": _sd(aurocs),
    }
    return block, aurocs


def _score_seed(
    scores: torch.Tensor, labels: torch.Tensor, fitted: Calibration | None, is_probability: bool
) -> dict[str, Any]:
    """Metrics of one seed."""
    # Weights from before there were temperatures have no bands either.
    scaled = fitted.scale(scores) if fitted is not None and fitted.bands and is_probability else None
    return {
        "accuracy": metrics.accuracy(scores, labels) if is_probability else None,
        "balanced_accuracy": metrics.balanced_accuracy(scores, labels) if is_probability else None,
        "accuracy_at_val_threshold": None if fitted is None else metrics.accuracy(scores, labels, fitted.threshold),
        "average_precision": metrics.average_precision(scores, labels),
        "auroc": metrics.auroc(scores, labels),
        "tpr_at_fpr_1": metrics.tpr_at_fpr(scores, labels, 0.01),
        "tpr_at_fpr_5": metrics.tpr_at_fpr(scores, labels, 0.05),
        "calibration_error": metrics.calibration_error(scores, labels) if is_probability else None,
        "calibration_error_with_temperature": None if scaled is None else metrics.calibration_error(scaled, labels),
        "unsure": [] if fitted is None else _score_bands(scores, labels, fitted),
    }


def _score_bands(scores: torch.Tensor, labels: torch.Tensor, fitted: Calibration) -> list[dict[str, float | None]]:
    """A row for each unsure band: coverage aimed at, coverage, and accuracy on what is answered."""
    rows: list[dict[str, float | None]] = []
    for target, band in zip(COVERAGES, fitted.bands, strict=False):  # none were fitted for older weights
        coverage, accuracy = metrics.coverage_and_accuracy(scores, labels, fitted.threshold, band)
        rows.append({"coverage_on_validation": target, "coverage": coverage, "accuracy": accuracy})
    return rows


def _mean_over_sources(sources: Sequence[tuple[Result, NDArray[np.float64]]]) -> Result:
    """Unweighted mean of the blocks, counts summed; `auroc_sd` is that of the seeds' mean AUROCs."""
    if not sources:
        return {}
    blocks = [block for block, _ in sources]
    mean = {name: _mean([block[name] for block in blocks]) for name in blocks[0] if name != "auroc_interval"}
    return mean | {
        "n_real": sum(block["n_real"] for block in blocks),
        "n_generated": sum(block["n_generated"] for block in blocks),
        "auroc_interval": None,
        "auroc_sd": _sd(np.mean([aurocs for _, aurocs in sources], axis=0)),
    }


def _mean(values: Sequence[Any]) -> Any:
    """Mean of numbers, of the same fields of rows, or None where one of them is None."""
    first = values[0]
    if isinstance(first, list):
        return [_mean(rows) for rows in zip(*values, strict=False)]
    if isinstance(first, dict):
        return {name: _mean([row[name] for row in values]) for name in first}
    return None if any(value is None for value in values) else float(np.mean(values))


def _sd(values: NDArray[np.float64]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


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
