"""Whether an image source has a better timestep than the one for all: chosen and tested on different halves.

The best of equal timesteps on some images is better on these images than any other: it must be tested on others.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.answers.readings import name_source
from experiments.study.over_sources import compute_means, keep_samples
from train.scoring.evaluate import select_sources
from train.scoring.metrics import auroc
from train.scoring.scores import Reading


def choose_half(groups: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which samples are of the first half: every other group, in the order of the names' hashes, (samples,)."""
    names, place = np.unique(groups, return_inverse=True)
    hashes = [hashlib.sha256(f"half|{name}".encode()).digest() for name in names]
    order = np.argsort(np.argsort(np.array(hashes)))
    first: NDArray[np.bool_] = (order % 2 == 0)[place]
    return first


def compare_own(readings: Mapping[int, Reading], chosen: int) -> dict[str, dict[str, Any]]:
    """Each image source's own timestep against the one that is chosen for all.

    Args:
        readings: Timestep → scores of the same test samples.
        chosen: The timestep for all sources; of equals it is a source's own.

    Returns:
        Image source → "own" (the best timestep on the first half), "lost" (AUROC at it less AUROC at the chosen one,
        on the second half) and "aurocs" of both there, as plain values. "own" is None where a half lacks a class.
    """
    table, result = readings[chosen].table, {}
    for source, positions, labels in select_sources(readings[chosen]):
        is_first = choose_half(table["group"].take(positions).to_numpy())
        if any(len(np.unique(labels[half])) < 2 for half in (is_first, ~is_first)):
            result[name_source(source)] = {"own": None, "lost": None, "aurocs": None}
            continue
        first, second = positions[is_first], positions[~is_first]
        truth = torch.from_numpy(labels[is_first])
        found = {t: _mean_auroc(reading.scores[:, first], truth) for t, reading in readings.items()}
        own = max((chosen, *sorted(readings)), key=found.__getitem__)
        both = [compute_means(keep_samples(readings[t], second))["auroc"] for t in (own, chosen)]
        aurocs = [each.describe() for each in both]
        result[name_source(source)] = {"own": own, "lost": (both[0] - both[1]).describe(), "aurocs": aurocs}
    return result


def _mean_auroc(scores: NDArray[np.float64], labels: torch.Tensor) -> float:
    return float(np.mean([auroc(torch.from_numpy(row), labels) for row in scores]))
