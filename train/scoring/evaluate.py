"""From saved predictions to results.json, without a model in memory."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from train.scoring import metrics
from train.scoring.calibration import COVERAGES, Calibration, compute_nll
from train.scoring.intervals import (
    bounded_interval,
    count_groups,
    difference_interval,
    share_interval,
    standard_error,
)
from train.scoring.pairs import compare_pairs, find_copies, match_pairs
from train.scoring.scores import Reading
from train.scoring.weighted import METRICS, leave_out_metrics

PAIRED_READING = "mean_lare"
Result = dict[str, Any]


def evaluate(readings: Mapping[str, Reading]) -> Result:
    """Score every image source and every control of each reading against the real images of its own subset.

    A control is a derived image without a label (a VAE reconstruction, a blurred photograph). A control stands in the
    generated class's place, in its own block, and outside the mean. No call of a control is right or wrong: it has no
    accuracies, and the share of it that is called generated says more.
    Metrics of several seeds are averaged; `auroc_sd` is the standard deviation of their AUROCs, intervals are those of
    their mean, by groups, of which the class that has fewer has `n_groups`.
    `calibration_error` and `nll` (mean negative log-likelihood, nats) take scores as stored, "…_with_temperature"
    divides log-odds by the temperature from validation. `unsure` has a row for each target coverage on validation: the
    coverage reached, and the accuracy of the answered samples at the threshold from validation.
    null means not defined: accuracies at 0.5 of scores that are no probabilities, accuracies and shares at a threshold
    that was not chosen, the sd of one seed, the interval of a mean over sources or of fewer than two groups.

    Returns:
        "readings" and "pairs" of results.json.

    Raises:
        ValueError: If a source has no real images in its subset.
    """
    scored = {}
    for name, reading in readings.items():
        sources, controls = _score_sources(reading, 1), _score_sources(reading, None)
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


def compare_readings(one: Reading, other: Reading) -> dict[str, Result]:
    """How much better one reading is than another on equal samples, source by source.

    Returns:
        Image source → `auroc_difference` (one − other, of the seeds' mean AUROCs), its `interval` (paired: both are
        scored without the same groups) with `n_groups`, and `sd` over the seeds' differences, null unless both have
        equally many seeds, more than one. The interval is over images alone: other seeds would give another difference.

    Raises:
        ValueError: If the readings score different samples.
    """
    if one.table["key"] != other.table["key"]:
        raise ValueError("readings of different samples cannot be compared")
    result: dict[str, Result] = {}
    for name, chosen, labels in select_sources(one):
        groups, n_groups = _groups(one, chosen, labels)
        scores = [reading.scores.take(chosen, axis=1) for reading in (one, other)]
        aurocs = [
            np.array([metrics.auroc(torch.from_numpy(row), torch.from_numpy(labels)) for row in rows])
            for rows in scores
        ]
        left_out = [leave_out_metrics(groups, labels, rows, rows > 0)[METRICS.index("auroc")] for rows in scores]
        difference = float(aurocs[0].mean() - aurocs[1].mean())
        ends = difference_interval(difference, standard_error(left_out[0] - left_out[1]), n_groups)
        result[name] = {
            "auroc_difference": difference,
            "interval": _as_list(ends),
            "n_groups": n_groups,
            "sd": _sd(aurocs[0] - aurocs[1]) if len(aurocs[0]) == len(aurocs[1]) else None,
        }
    return result


def select_sources(
    reading: Reading, label: int | None = 1
) -> Iterator[tuple[str, NDArray[np.intp], NDArray[np.int64]]]:
    """Each generated source (label 1) or control (None) with the reals of its subsets: name, positions, labels.

    Controls that are byte for byte the photographs that they were made from are left out, see `compare_pairs`.

    Raises:
        ValueError: If a source has no reals.
    """
    labels = pc.fill_null(reading.table["label"], -1).to_numpy()
    source, subset = (reading.table[name].to_numpy() for name in ("image_source", "subset"))
    is_fake = labels == (-1 if label is None else label)
    for name in sorted(set(source[is_fake])):
        fake = is_fake & (source == name)
        if label is None and "sha256" in reading.table.column_names:
            images, photos = match_pairs(reading.table, name)
            fake[images[find_copies(reading.table, images, photos)]] = False
            if not fake.any():
                continue
        real = (labels == 0) & np.isin(subset, np.unique(subset[fake]).tolist())
        if not real.any():
            raise ValueError(f"{name} has no real images in its subset {', '.join(sorted(set(subset[fake])))}")
        chosen = np.flatnonzero(real | fake)
        yield name, chosen, fake[chosen].astype(np.int64)


def _score_sources(reading: Reading, label: int | None) -> dict[str, tuple[Result, NDArray[np.float64]]]:
    """Image source → its block and the AUROC of each seed."""
    return {
        name: _score(reading, chosen, labels, is_control=label is None)
        for name, chosen, labels in select_sources(reading, label)
    }


def _score(
    reading: Reading, chosen: NDArray[np.intp], labels: NDArray[np.int64], *, is_control: bool
) -> tuple[Result, NDArray[np.float64]]:
    """Block of results of the chosen samples, and the AUROC of each seed."""
    groups, n_groups = _groups(reading, chosen, labels)
    per_seed = _score_seeds(reading, chosen, labels)
    scores = reading.scores.take(chosen, axis=1)
    called = _call(reading, scores)
    block: Result = {name: _mean([values[name] for values in per_seed]) for name in per_seed[0]}
    aurocs = np.array([values["auroc"] for values in per_seed])
    left_out = leave_out_metrics(groups, labels, scores, scores > 0 if called is None else called)
    for name, row in zip(METRICS, left_out, strict=True):
        if place := _PLACES.get(name):
            value = block[place]
            ends = None if value is None else bounded_interval(value, standard_error(row), n_groups)
            block[f"{place}_interval"] = _as_list(ends)
    block |= {
        "n_real": int((labels == 0).sum()),
        "n_generated": int(labels.sum()),
        "n_groups": n_groups,
        "auroc_sd": _sd(aurocs),
        **_count_calls(called, labels, groups),
    }
    return _without_truth(block) if is_control else block, aurocs


_PLACES = {
    "auroc": "auroc",
    "average_precision": "average_precision",
    "balanced_accuracy": "balanced_accuracy_at_val_threshold",
}
"""Of `METRICS` those with an interval, and the field of a block that they are; without a threshold there is no call."""


def _without_truth(block: Result) -> Result:
    """A block without what compares calls and probabilities with the truth, as controls belong to neither class."""
    undefined = [name for name in block if "accuracy" in name or name.startswith(("calibration_error", "nll"))]
    unsure = [row | {"accuracy": None} for row in block["unsure"]]
    return block | dict.fromkeys(undefined) | {"unsure": unsure}


def _groups(reading: Reading, chosen: NDArray[np.intp], labels: NDArray[np.int64]) -> tuple[NDArray[np.object_], int]:
    """Group of each chosen sample, and how many the class that has fewer has."""
    groups = reading.table["group"].take(chosen).to_numpy()
    return groups, count_groups(groups, labels)


def _call(reading: Reading, scores: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """Which samples are called generated at each seed's threshold from validation, (seeds, samples); None without."""
    thresholds = [threshold for threshold in reading.thresholds if threshold is not None]
    return scores > np.array(thresholds)[:, None] if len(thresholds) == len(scores) else None


def _count_calls(called: NDArray[np.bool_] | None, labels: NDArray[np.int64], groups: NDArray[np.object_]) -> Result:
    """Shares of both classes that are called generated at the threshold from validation, with their intervals."""
    block: Result = {}
    for name, label in (("share_called_generated", 1), ("share_of_reals_called_generated", 0)):
        found = None if called is None else share_interval(called[:, labels == label].mean(0), groups[labels == label])
        block |= {name: found and found.value, f"{name}_interval": found and _as_list(found.interval)}
    return block


def _as_list(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else list(ends)


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
    threshold = None if fitted is None else fitted.threshold
    return {
        "auroc": metrics.auroc(scores, labels),
        "average_precision": metrics.average_precision(scores, labels),
        "balanced_accuracy_at_val_threshold": (
            None if threshold is None else metrics.balanced_accuracy(scores, labels, threshold)
        ),
        "balanced_accuracy": metrics.balanced_accuracy(scores, labels) if is_probability else None,
        "accuracy_at_val_threshold": None if threshold is None else metrics.accuracy(scores, labels, threshold),
        "accuracy": metrics.accuracy(scores, labels) if is_probability else None,
        "tpr_at_fpr_1": metrics.tpr_at_fpr(scores, labels, 0.01),
        "tpr_at_fpr_5": metrics.tpr_at_fpr(scores, labels, 0.05),
        "calibration_error": metrics.calibration_error(scores, labels) if is_probability else None,
        "calibration_error_with_temperature": None if scaled is None else metrics.calibration_error(scaled, labels),
        "nll": compute_nll(scores, labels) if is_probability else None,
        "nll_with_temperature": None if scaled is None else compute_nll(scaled, labels),
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
    without = ("n_groups", *(name for name in blocks[0] if name.endswith("_interval")))
    return {name: None if name in without else _mean([block[name] for block in blocks]) for name in blocks[0]} | {
        "n_real": num_real,
        "n_generated": sum(block["n_generated"] for block in blocks),
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
