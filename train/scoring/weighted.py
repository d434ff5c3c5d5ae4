"""Metrics of weighted samples: many weightings of the same samples in one pass, which is what intervals need."""

import numpy as np
from numpy.typing import NDArray

from train.scoring.intervals import leave_out_weights

METRICS = ("accuracy", "balanced_accuracy", "average_precision", "auroc")
"""Rows of `weighted_metrics`. Accuracies are those of the calls given, at whatever threshold made them."""


def weighted_metrics(
    weights: NDArray[np.float64], labels: NDArray[np.integer], scores: NDArray[np.floating], called: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """`METRICS` of weighted samples; with weights of 1 they are the plain ones of `train.scoring.metrics`.

    Args:
        weights: (weightings, samples), ≥ 0, how often each sample counts.
        labels: (samples,), 0 real, 1 generated.
        scores: (samples,), higher for generated.
        called: Which samples are called generated, (samples,).

    Returns:
        (metrics, weightings), fractions; NaN where a class has no weight.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))  # of each level of equal scores
    is_generated, is_called, weights = labels[order] == 1, called[order], weights[:, order]
    num_found, num_cleared = weights @ (is_called & is_generated), weights @ ~(is_called | is_generated)
    generated, real = (np.add.reduceat(weights * which, starts, axis=1) for which in (is_generated, ~is_generated))
    above, real_above = generated.cumsum(axis=1), real.cumsum(axis=1)
    num_generated, num_real = above[:, -1], real_above[:, -1]
    all_above = above + real_above
    precision = np.divide(above, all_above, out=np.zeros_like(above), where=all_above > 0)
    won = (generated * (num_real[:, None] - real_above + real / 2)).sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a class is missing
        # Without reals every precision is 1.
        missing = np.where(num_generated * num_real > 0, 0.0, np.nan)
        return np.stack(
            [
                (num_found + num_cleared) / (num_generated + num_real) + missing,
                (num_found / num_generated + num_cleared / num_real) / 2,
                (generated * precision).sum(axis=1) / num_generated + missing,
                won / (num_generated * num_real),
            ]
        )


def leave_out_metrics(
    groups: NDArray[np.generic],
    labels: NDArray[np.integer],
    scores: NDArray[np.floating],
    called: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """`METRICS` without each block of groups in turn, for `train.scoring.intervals.standard_error`.

    Args:
        groups: Group of each sample, (samples,), any type that sorts.
        labels: (samples,), 0 real, 1 generated.
        scores: (seeds, samples), higher for generated.
        called: Which samples are called generated, (seeds, samples).

    Returns:
        The seeds' means, (metrics, blocks); NaN where a class is in one block alone.
    """
    chunks = [
        np.mean([weighted_metrics(weights, labels, *seed) for seed in zip(scores, called, strict=True)], axis=0)
        for weights in leave_out_weights(groups)
    ]
    return np.concatenate(chunks, axis=1)
