"""Weighted metrics: weights are repetitions, and a weighting without a class has no metric."""

import numpy as np
import pytest
import torch

from train.scoring import metrics
from train.scoring.weighted import METRICS, leave_out_metrics, weighted_metrics


def _draw_case(seed: int, *, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 100)
    scores = rng.normal(0.4 + 0.2 * labels, 0.2)
    return (np.round(scores, 1) if tied else scores), labels


@pytest.mark.parametrize("tied", [False, True])
def test_weights_are_repetitions_of_samples(tied: bool) -> None:
    scores, labels = _draw_case(0, tied=tied)
    weights = np.random.default_rng(1).integers(0, 4, (5, 100)).astype(float)
    found = dict(zip(METRICS, weighted_metrics(weights, labels, scores, scores > 0.5), strict=True))
    for i, row in enumerate(weights):
        samples = np.repeat(np.arange(100), row.astype(int))
        case = torch.from_numpy(scores[samples]), torch.from_numpy(labels[samples])
        for name in METRICS:
            assert found[name][i] == pytest.approx(getattr(metrics, name)(*case), abs=1e-6)


def test_a_weighting_without_a_class_has_no_metric() -> None:
    labels, scores = np.array([0, 1, 1]), np.array([0.1, 0.6, 0.9])
    weights = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    found = weighted_metrics(weights, labels, scores, scores > 0.5)
    assert np.isnan(found[:, :2]).all()  # without reals AP would be 1
    assert (found[:, 2] == 1).all()


def test_metrics_are_computed_without_each_group_as_means_of_the_seeds() -> None:
    (one, labels), (other, _) = _draw_case(2, tied=True), _draw_case(3, tied=True)
    groups, scores = np.arange(100) // 4, np.stack([one, other])
    found = dict(zip(METRICS, leave_out_metrics(groups, labels, scores, scores > 0.5), strict=True))
    assert found["auroc"].shape == (25,)
    for i in range(25):
        kept = groups != i
        cases = [(torch.from_numpy(row[kept]), torch.from_numpy(labels[kept])) for row in scores]
        for name in METRICS:
            expected = np.mean([getattr(metrics, name)(*case) for case in cases])
            assert found[name][i] == pytest.approx(expected, abs=1e-6)
