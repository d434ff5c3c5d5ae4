"""Metrics of a detector from scores and labels, and the threshold from validation.

Everywhere: `scores` are (samples,) real numbers, higher for "generated"; `labels` are (samples,) of 0 real and
1 generated. A sample is called generated when its score lies above the threshold. torchmetrics does the arithmetic.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    binary_precision_recall_curve,
    binary_roc,
    multiclass_accuracy,
)


def accuracy(scores: Tensor, labels: Tensor, threshold: float = 0.5) -> float:
    """Share of samples on the right side of the threshold."""
    return binary_accuracy((scores > threshold).int(), labels).item()


def balanced_accuracy(scores: Tensor, labels: Tensor, threshold: float = 0.5) -> float:
    """Mean of both classes' shares on the right side of the threshold."""
    _check_both_classes(labels)
    called = (scores > threshold).int()
    return multiclass_accuracy(called, labels, num_classes=2, average="macro").item()


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """Area under the precision-recall curve as a step function, generated being the positive class."""
    _check_both_classes(labels)
    return binary_average_precision(_ranks(scores), labels).item()


def auroc(scores: Tensor, labels: Tensor) -> float:
    """Chance that a generated image scores above a real one, ties counting half."""
    _check_both_classes(labels)
    return binary_auroc(_ranks(scores), labels).item()


def roc_points(
    scores: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates of every threshold, from (0, 0) to (1, 1)."""
    fpr, tpr, _ = binary_roc(_ranks(torch.from_numpy(scores)), torch.from_numpy(labels))
    return fpr.double().numpy(), tpr.double().numpy()


def precision_recall_points(
    scores: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision of every threshold, from the one that calls everything generated; without recall 0."""
    ranks = _ranks(torch.from_numpy(scores))
    precision, recall, _ = binary_precision_recall_curve(ranks, torch.from_numpy(labels))
    return recall[:-1].double().numpy(), precision[:-1].double().numpy()


def tpr_at_fpr(scores: Tensor, labels: Tensor, max_fpr: float) -> float:
    """Largest share of generated images found while at most `max_fpr` of the real ones are called generated."""
    _check_both_classes(labels)
    fpr, tpr, _ = binary_roc(_ranks(scores), labels)
    return tpr[fpr <= max_fpr + 1e-8].max().item()  # fpr is float32: 1 of 20 comes out above 0.05


def calibration_error(probabilities: Tensor, labels: Tensor, num_bins: int = 15) -> float:
    """Expected calibration error: mean gap between the score of a bin and the share of generated images in it."""
    return binary_calibration_error(probabilities, labels, n_bins=num_bins).item()


def coverage_and_accuracy(
    scores: Tensor, labels: Tensor, threshold: float, band: tuple[float, float]
) -> tuple[float, float | None]:
    """Share of samples outside the unsure band, and the accuracy on them.

    Args:
        scores: (samples,).
        labels: (samples,).
        threshold: As of `accuracy`.
        band: Ends of the unsure scores, both answered themselves.

    Returns:
        Coverage and accuracy, the latter None where nothing is answered.
    """
    answered = (scores <= band[0]) | (scores >= band[1])
    if not answered.any():
        return 0.0, None
    return answered.double().mean().item(), accuracy(scores[answered], labels[answered], threshold)


def threshold_from_validation(scores: Tensor, labels: Tensor) -> float:
    """The threshold of best balanced accuracy on validation samples.

    Candidates lie halfway between neighbouring distinct scores, and 1 beyond both ends (all called generated, all
    called real). Of several equally good candidates the middle one is taken, which keeps its distance from both
    classes.

    Raises:
        ValueError: If a class is missing.
    """
    _check_both_classes(labels)
    levels, level = torch.unique(scores.double(), return_inverse=True)
    num_real = torch.bincount(level[labels == 0], minlength=len(levels))
    num_generated = torch.bincount(level[labels == 1], minlength=len(levels))
    # candidate k calls the lowest k levels real, so that both rates are cumulative counts
    right_real = torch.cat([num_real.new_zeros(1), num_real.cumsum(0)])
    missed = torch.cat([num_generated.new_zeros(1), num_generated.cumsum(0)])
    # twice the balanced accuracy, times both counts: whole numbers, so that ties are exact
    quality = right_real * num_generated.sum() + (num_generated.sum() - missed) * num_real.sum()
    candidates = torch.cat([levels[:1] - 1, (levels[:-1] + levels[1:]) / 2, levels[-1:] + 1])
    best = torch.nonzero(quality == quality.max()).flatten()
    return candidates[best[(len(best) - 1) // 2]].item()


def _check_both_classes(labels: Tensor) -> None:
    """Raise ValueError unless labels are real (0) and generated (1), both present."""
    found = torch.unique(labels).tolist()
    if found != [0, 1]:
        raise ValueError(f"labels are {found}, expected both 0 (real) and 1 (generated)")


def _ranks(scores: Tensor) -> Tensor:
    """Scores as their ranks in [0, 1), equal ones alike.

    torchmetrics passes scores outside [0, 1] through a sigmoid, which makes distinct ones equal.
    """
    levels, level = torch.unique(scores, return_inverse=True)
    ranks: Tensor = level.double() / len(levels)
    return ranks
