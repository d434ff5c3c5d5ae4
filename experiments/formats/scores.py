"""Scores on files as they come and matched, and what matching takes."""

from collections.abc import Mapping
from typing import Any

from experiments.formats.half_size import FalseAlarms
from experiments.formats.telling import AS_THEY_COME, FILE
from experiments.study.over_sources import Means, compute_means, match_samples
from train.scoring.scores import Reading
from train.scoring.weighted import METRICS

Readings = Mapping[str, Reading]
Scores = Mapping[tuple[str, str], Mapping[str, Mapping[str, Means]]]
"""Cell → reading → metric → mean over the image sources."""
Losses = Mapping[str, Mapping[str, Means]]
"""Packing that is tested on → reading → AUROC less AUROC on the same files as they come; trained on these."""
Counts = Mapping[str, tuple[int, int]]
"""Split → number of photographs and of generated images."""
Alarms = Mapping[tuple[str, str], FalseAlarms]
"""(packing that gave weights or threshold, reading) → what half size does."""


def score_cells(cells: Mapping[tuple[str, str], Readings]) -> tuple[Scores, Losses]:
    """Scores of each cell, and what matching takes from readings that were trained on the files as they come."""
    scores = {cell: {name: _compute(name, each) for name, each in found.items()} for cell, found in cells.items()}
    raw = cells[AS_THEY_COME, AS_THEY_COME]
    losses = {}
    for (trained, tested), found in cells.items():
        if trained == AS_THEY_COME != tested:
            losses[tested] = {name: _less(name, reading, raw[name]) for name, reading in found.items()}
    return scores, losses


def _compute(name: str, reading: Reading) -> dict[str, Means]:
    # The regression on facts of the files has one solution, and no seed.
    return compute_means(reading, is_trained=False if name == FILE else None)


def _less(name: str, matched: Reading, raw: Reading) -> Means:
    same = match_samples(raw, matched.table["key"].to_pylist())
    return _compute(name, matched)["auroc"] - _compute(name, same)["auroc"]


def numbers(scores: Scores, losses: Losses, alarms: Alarms) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "cells": [
            {"trained": trained, "tested": tested}
            | {name: {metric: means[metric].describe() for metric in METRICS} for name, means in each.items()}
            for (trained, tested), each in scores.items()
        ],
        "losses": {way: {name: value.describe() for name, value in each.items()} for way, each in losses.items()},
        "half_size": [
            {"trained": way, "reading": name, "auroc": each.auroc, "interval": each.interval, "sd": each.sd}
            | {"called": each.called, "rise": each.rise}
            | {"num_seeds": each.num_seeds, "n_groups": each.n_groups}
            for (way, name), each in alarms.items()
        ],
    }
