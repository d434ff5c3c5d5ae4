"""Is LaRE a measure of local detail, and what separates generated from real images of equal detail?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from experiments.answers.answer import Answer
from experiments.answers.readings import name_source
from experiments.frequency.equal_detail import (
    CALIPER,
    fit_line,
    load_classes,
    match_sources,
    subtract_line,
    take_logs,
)
from experiments.frequency.local_detail import average_by_source, correlate_cells
from experiments.frequency.telling import TELLING
from experiments.study.comparisons import score_sources, subtract, summarize
from experiments.study.fits import Work
from experiments.study.study import Study
from train.scoring.scores import Reading

MAX_POINTS = 150
"""Of an image source in the chart."""


def answer(study: Study) -> Answer:
    """Does LaRE follow local detail, and what is left of it between images of equal detail? From a cache alone."""
    return study.tell("frequency", TELLING, numbers(study), cache=study.default_cache, caliper=CALIPER)


def work(study: Study) -> Work:
    """It trains nothing."""
    return Work()


def numbers(study: Study) -> dict[str, Any]:
    """Rank correlations, matched pairs, the line and what it leaves, and the points of the chart."""
    data, cache = study.config.data, study.cache(study.default_cache)
    readings = study.readings(cache)
    validation = study.readings(cache, split="validation")
    line = fit_line(validation)
    readings["residual"] = subtract_line(readings, validation, line)
    scores = {name: score_sources(reading) for name, reading in readings.items()}
    table = readings["mean_lare"].table
    correlations = average_by_source(table, correlate_cells(data, cache, table))
    matched = match_sources(readings, load_classes(data, table))
    return {
        "caliper": CALIPER,
        "correlations": {name: {s: vars(c) for s, c in by.items()} for name, by in correlations.items()},
        "matched": {name_source(s): {**vars(m), "auroc": summarize({"": m.auroc})[""]} for s, m in matched.items()},
        "line": vars(line),
        "readings": {"test": {name: summarize(each) for name, each in scores.items()}},
        "gain_of_residual": subtract(scores["residual"], scores["mean_lare"]),
        "points": choose_points(readings),
    }


def choose_points(readings: Mapping[str, Reading]) -> dict[str, dict[str, list[float]]]:
    """Image source, real and generated → log₁₀ gradient energy and log₁₀ mean LaRE of some of its images."""
    table = readings["mean_lare"].table
    sources, labels = table["image_source"].to_numpy(), pc.fill_null(table["label"], -1).to_numpy()
    energy, lare = (values / np.log(10) for values in take_logs(readings))
    rng, points = np.random.default_rng(0), {}
    for source in sorted(set(sources[labels >= 0])):
        some = rng.permutation(np.flatnonzero((sources == source) & (labels >= 0)))[:MAX_POINTS]
        points[source] = {"energy": energy[some].tolist(), "lare": lare[some].tolist()}
    return points
