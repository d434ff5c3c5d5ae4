"""Mean LaRE of images of equal gradient energy: by pairs that are matched on it, and by what a line leaves of it."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from cache_schema import Dataset
from experiments.study.over_sources import Floats, Means, compute_means, keep_samples
from train.scoring.calibration import fit_calibration
from train.scoring.evaluate import select_sources
from train.scoring.intervals import Ends, share_interval
from train.scoring.scores import Reading

CALIPER = 1.1
"""Largest ratio of the gradient energies of a matched pair."""
MIN_ENERGY = 1e-8
"""Gradient energy that a flat image is taken to have, as its logarithm is needed."""


@dataclass(frozen=True)
class Matched:
    """An image source and real images of its subsets of the same gradient energy.

    Attributes:
        n: Pairs.
        num_generated: Images of the source before matching.
        by_class: Whether a pair is also of one class.
        auroc: Reading → AUROC among the matched images; empty without pairs.
        lower: Share of pairs in which the generated image has the lower mean LaRE; None without pairs.
        interval: Of the share, by the generated image's group.
        n_groups: Behind it; None without pairs.
    """

    n: int
    num_generated: int
    by_class: bool
    auroc: Mapping[str, Means]
    lower: float | None
    interval: Ends | None
    n_groups: int | None


@dataclass(frozen=True)
class Line:
    """A straight line fitted to points by least squares."""

    slope: float
    intercept: float
    explained: float
    """Share of the variance that it explains, R²."""

    @classmethod
    def fit(cls, x: Floats, y: Floats) -> "Line":
        """Fit to points, (n,) each."""
        slope, intercept = np.polyfit(x, y, 1)
        residuals = y - (intercept + slope * x)
        return cls(float(slope), float(intercept), float(1 - residuals.var() / y.var()))

    def residuals(self, x: Floats, y: Floats) -> Floats:
        """What lies above the line, (n,)."""
        return y - (self.intercept + self.slope * x)


def take_logs(readings: Mapping[str, Reading]) -> tuple[Floats, Floats]:
    """Logarithms of gradient energy and of mean LaRE, (samples,) each."""
    energy, lare = (-readings[name].scores[0] for name in ("gradient_energy", "mean_lare"))
    return np.log(np.maximum(energy, MIN_ENERGY)), np.log(lare)


def fit_line(validation: Mapping[str, Reading]) -> Line:
    """Log mean LaRE over log gradient energy, of the real validation images."""
    is_real = pc.fill_null(validation["mean_lare"].table["label"], -1).to_numpy() == 0
    energy, lare = take_logs(validation)
    return Line.fit(energy[is_real], lare[is_real])


def subtract_line(readings: Mapping[str, Reading], validation: Mapping[str, Reading], line: Line) -> Reading:
    """The reading of minus what log mean LaRE has above the line; threshold from validation."""
    labels = pc.fill_null(validation["mean_lare"].table["label"], -1).to_numpy().astype(np.int64)
    fitted_on, scores = (torch.from_numpy(-line.residuals(*take_logs(each))) for each in (validation, readings))
    known = torch.from_numpy(labels >= 0)
    calibration = fit_calibration(fitted_on[known], torch.from_numpy(labels)[known], is_probability=False)
    return replace(readings["mean_lare"], scores=scores[None].numpy(), calibrations=(calibration,))


def match_nearest(ours: Floats, theirs: Floats, caliper: float, seed: int = 0) -> NDArray[np.intp]:
    """Pairs of near values, each value in one pair at most.

    In random order each of ours takes the nearest of theirs that is left, if it is near enough. Taking them in order of
    size would leave the far side of a crowded place to the last ones, always the same side.

    Args:
        ours: (n,).
        theirs: (m,).
        caliper: Largest difference in a pair.
        seed: Of the order.

    Returns:
        Positions in ours and in theirs, (pairs, 2).
    """
    left = np.argsort(theirs, kind="stable").tolist()
    values = theirs[left].tolist()
    pairs = []
    for i in np.random.default_rng(seed).permutation(len(ours)).tolist():
        place = bisect_left(values, ours[i])
        near = [k for k in (place - 1, place) if 0 <= k < len(values) and abs(values[k] - ours[i]) <= caliper]
        if near:
            k = min(near, key=lambda k: abs(values[k] - ours[i]))
            pairs.append((i, left.pop(k)))
            values.pop(k)
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def load_classes(data: Path, table: pa.Table) -> NDArray[np.object_]:
    """Class of each of the dataset's samples in a table, or None, (samples,)."""
    index = Dataset.open(data).table(["key", "class_name"]).to_pydict()
    classes = dict(zip(index["key"], index["class_name"], strict=True))
    return np.array([classes[key] for key in table["key"].to_pylist()], dtype=object)


def match_sources(readings: Mapping[str, Reading], classes: NDArray[np.object_]) -> dict[str, Matched]:
    """Each image source with real images of its subsets, one to one, of nearly the same gradient energy.

    Where generated and real images have classes in common, pairs are of one class, or both of none.

    Args:
        readings: Of the test samples.
        classes: Of the same.
    """
    energy, lare = take_logs(readings)
    table = readings["mean_lare"].table
    groups, result = table["group"].to_numpy(), {}
    for source, chosen, labels in select_sources(readings["mean_lare"]):
        generated, real = chosen[labels == 1], chosen[labels == 0]
        by_class = bool(set(classes[generated]) & set(classes[real]) - {None})
        wanted = sorted(set(classes[generated]), key=str) if by_class else [None]
        pairs = []
        for name in wanted:
            ours, theirs = ([i for i in side if not by_class or classes[i] == name] for side in (generated, real))
            near = match_nearest(energy[ours], energy[theirs], float(np.log(CALIPER)))
            pairs += [(ours[i], theirs[k]) for i, k in near]
        positions = np.array(pairs, dtype=np.intp).reshape(-1, 2)
        auroc, share = {}, None
        if pairs:
            parts = {name: keep_samples(reading, positions.T.ravel()) for name, reading in readings.items()}
            auroc = {name: compute_means(part)["auroc"] for name, part in parts.items()}
            is_lower = lare[positions[:, 0]] < lare[positions[:, 1]]
            share = share_interval(is_lower, groups[positions[:, 0]])
        lower, interval, n_groups = (share.value, share.interval, share.n_groups) if share else (None, None, None)
        result[source] = Matched(len(pairs), len(generated), by_class, auroc, lower, interval, n_groups)
    return result
