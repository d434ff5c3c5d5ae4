"""From saved predictions to results.json, without a model in memory."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from train.scoring import metrics
from train.scoring.calibration import COVERAGES, Calibration
from train.scoring.pairs import compare_pairs
from train.scoring.scores import Reading

PAIRED_READING = "mean_lare"
Result = dict[str, Any]


def evaluate(readings: Mapping[str, Reading], num_resamples: int = 1000, seed: int = 0) -> Result:
    """Score every image source and every control of each reading against the real images of its own subset.

    A control is a derived image without a label (a VAE reconstruction, a blurred photograph). A control stands in the
    generated class's place, in its own block, and outside the mean. Metrics of several seeds are averaged; `auroc_sd`
    is the standard deviation of their AUROCs, `auroc_interval` the interval of their mean. Intervals resample groups.
    `calibration_error` takes scores as stored, `calibration_error_with_temperature` divides log-odds by the temperature
    from validation. `unsure` has a row for each target coverage on validation: the coverage reached, and the accuracy
    of the answered samples at the threshold from validation.
    null means not defined: accuracies at 0.5 of scores that are no probabilities, accuracy at a threshold that was
    not chosen, the sd of one seed, the interval of a mean over sources.

    Returns:
        "readings" and "pairs" of results.json.

    Raises:
        ValueError: If a source has no real images in its subset.
    """
    scored = {}
    for name, reading in readings.items():
        sources = _score_sources(reading, 1, num_resamples, seed)
        controls = _score_sources(reading, None, num_resamples, seed)
        mean = _mean_over_sources(list(sources.values()), _count_reals(reading))
        scored[name] = {
            "sources": {source: block for source, (block, _) in sources.items()},
            "controls": {source: block for source, (block, _) in controls.items()},
            "mean": mean,
        }
    paired = readings.get(PAIRED_READING)
    return {"readings": scored, "pairs": compare_pairs(paired) if paired is not None else {}}


def score_each_seed(reading: Reading) -> dict[str, list[Result]]:
    """Image source → the metrics of each seed, without intervals.

    Raises:
        ValueError: If a source has no real images in its subset.
    """
    return {name: _score_seeds(reading, chosen, labels) for name, chosen, labels in select_sources(reading)}


def compare_readings(one: Reading, other: Reading, num_resamples: int = 1000, seed: int = 0) -> dict[str, Result]:
    """How much better one reading is than another on equal samples, source by source.

    Returns:
        Image source → `auroc_difference` (one − other, of the seeds' mean AUROCs), its `interval` (paired: a resample
        scores both), and `sd` over the seeds' differences, null unless both have equally many seeds, more than one.

    Raises:
        ValueError: If the readings score different samples.
    """
    if one.table["key"] != other.table["key"]:
        raise ValueError("readings of different samples cannot be compared")
    result: dict[str, Result] = {}
    for name, chosen, labels in select_sources(one):
        ours, theirs = one.scores.take(chosen, axis=1), other.scores.take(chosen, axis=1)
        groups = one.table["group"].take(chosen).to_numpy()
        difference, low, high = metrics.auroc_difference(ours, theirs, labels, groups, num_resamples, seed)
        aurocs = [[metrics.auroc(torch.from_numpy(row), torch.from_numpy(labels)) for row in s] for s in (ours, theirs)]
        result[name] = {
            "auroc_difference": difference,
            "interval": None if np.isnan(low) else [low, high],
            "sd": _sd(np.array(aurocs[0]) - np.array(aurocs[1])) if len(ours) == len(theirs) else None,
        }
    return result


def select_sources(
    reading: Reading, label: int | None = 1
) -> Iterator[tuple[str, NDArray[np.intp], NDArray[np.int64]]]:
    """Each generated source (label 1) or control (None) with the reals of its subsets: name, positions, labels.

    Raises:
        ValueError: If a source has no reals.
    """
    labels = pc.fill_null(reading.table["label"], -1).to_numpy()
    source, subset = (reading.table[name].to_numpy() for name in ("image_source", "subset"))
    is_fake = labels == (-1 if label is None else label)
    for name in sorted(set(source[is_fake])):
        fake = is_fake & (source == name)
        real = (labels == 0) & np.isin(subset, np.unique(subset[fake]).tolist())
        if not real.any():
            raise ValueError(f"{name} has no real images in its subset {', '.join(sorted(set(subset[fake])))}")
        chosen = np.flatnonzero(real | fake)
        yield name, chosen, fake[chosen].astype(np.int64)


def _score_sources(
    reading: Reading, label: int | None, num_resamples: int, seed: int
) -> dict[str, tuple[Result, NDArray[np.float64]]]:
    """Image source → its block and the AUROC of each seed."""
    return {
        name: _score(reading, chosen, labels, num_resamples, seed)
        for name, chosen, labels in select_sources(reading, label)
    }


def _score(
    reading: Reading, chosen: NDArray[np.intp], labels: NDArray[np.int64], num_resamples: int, seed: int
) -> tuple[Result, NDArray[np.float64]]:
    """Block of results of the chosen samples, and the AUROC of each seed."""
    groups = reading.table["group"].take(chosen).to_numpy()
    per_seed = _score_seeds(reading, chosen, labels)
    scores = reading.scores.take(chosen, axis=1)
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


def _score_seeds(reading: Reading, chosen: NDArray[np.intp], labels: NDArray[np.int64]) -> list[Result]:
    """Metrics of the chosen samples, seed by seed."""
    return [
        _score_seed(torch.from_numpy(row), torch.from_numpy(labels), fitted, reading.is_probability)
        for row, fitted in zip(reading.scores.take(chosen, axis=1), reading.calibrations, strict=True)
    ]


def _score_seed(
    scores: torch.Tensor, labels: torch.Tensor, fitted: Calibration | None, is_probability: bool
) -> dict[str, Any]:
    """Metrics of one seed."""
    # Weights older than the temperature have no bands either.
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


def _count_reals(reading: Reading) -> int:
    """Photographs that generated sources are scored against, each once however many sources share it."""
    positions = [chosen[labels == 0] for _, chosen, labels in select_sources(reading)]
    return len(np.unique(np.concatenate(positions))) if positions else 0


def _mean_over_sources(sources: Sequence[tuple[Result, NDArray[np.float64]]], num_real: int) -> Result:
    """Unweighted mean of the blocks; `auroc_sd` is the standard deviation of the seeds' mean AUROCs."""
    if not sources:
        return {}
    blocks = [block for block, _ in sources]
    mean = {name: _mean([block[name] for block in blocks]) for name in blocks[0] if name != "auroc_interval"}
    return mean | {
        "n_real": num_real,
        "n_generated": sum(block["n_generated"] for block in blocks),
        "auroc_interval": None,
        "auroc_sd": _sd(np.mean([aurocs for _, aurocs in sources], axis=0)),
    }


def _mean(values: Sequence[Any]) -> Any:
    """Mean of numbers, or of rows field by field; None where a value is None."""
    first = values[0]
    if isinstance(first, list):
        return [_mean(rows) for rows in zip(*values, strict=False)]
    if isinstance(first, dict):
        return {name: _mean([row[name] for row in values]) for name in first}
    return None if any(value is None for value in values) else float(np.mean(values))


def _sd(values: NDArray[np.float64]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
