"""Metrics against scikit-learn and by hand, the threshold rule, and the group bootstrap."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from train.scoring import metrics


def _random_case(seed: int, *, tied: bool, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 200)
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1) * scale
    return (np.round(scores, 1) if tied else scores), labels


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_scikit_learn(seed: int, tied: bool) -> None:
    scores, labels = _random_case(seed, tied=tied)
    tensors = torch.from_numpy(scores), torch.from_numpy(labels)
    called = scores > 0.5
    assert metrics.accuracy(*tensors) == pytest.approx(sk.accuracy_score(labels, called))
    assert metrics.balanced_accuracy(*tensors) == pytest.approx(sk.balanced_accuracy_score(labels, called))
    assert metrics.average_precision(*tensors) == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-6)
    assert metrics.auroc(*tensors) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-6)
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    for limit in (0.01, 0.05):
        assert metrics.tpr_at_fpr(*tensors, limit) == pytest.approx(tpr[fpr <= limit].max())


def test_metrics_keep_apart_scores_that_a_sigmoid_would_merge() -> None:
    scores, labels = torch.tensor([-1000.0, -999.0, -998.0, -997.0]), torch.tensor([0, 0, 1, 1])
    assert metrics.auroc(scores, labels) == 1.0
    assert metrics.average_precision(scores, labels) == 1.0
    assert metrics.tpr_at_fpr(scores, labels, 0.01) == 1.0


def test_a_score_at_the_threshold_is_called_real() -> None:
    assert metrics.accuracy(torch.tensor([0.5, 0.5, 0.6]), torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)


def test_tpr_at_fpr_includes_the_limit_itself() -> None:
    real, generated = torch.arange(20.0), torch.tensor([18.5, 18.5, 0.5])
    scores = torch.cat([real, generated])
    labels = torch.tensor([0] * 20 + [1] * 3)
    assert metrics.tpr_at_fpr(scores, labels, 0.05) == pytest.approx(2 / 3)
    assert metrics.tpr_at_fpr(scores, labels, 0.04) == 0.0


def test_calibration_error_by_hand() -> None:
    probabilities = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.9, 0.9])
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    expected = 4 / 6 * abs(0.25 - 0.2) + 2 / 6 * abs(1.0 - 0.9)
    assert metrics.calibration_error(probabilities, labels, num_bins=10) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1], 0.4),  # separable: halfway
        ([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], 0.15),  # 0.15 and 0.35 are equally good: the lower of two middle ones
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0, 1, 0, 1, 0, 1], 3.5),  # three equally good: the middle one
        ([-3.0, -2.0, -1.0], [0, 1, 1], -2.5),  # any range
    ],
)
def test_threshold_is_the_best_on_validation(scores: list[float], labels: list[int], expected: float) -> None:
    assert metrics.threshold_from_validation(torch.tensor(scores), torch.tensor(labels)) == pytest.approx(expected)


def test_threshold_of_a_reversed_score_calls_everything_alike() -> None:
    scores, labels = torch.tensor([0.1, 0.9]), torch.tensor([1, 0])
    threshold = metrics.threshold_from_validation(scores, labels)
    assert metrics.balanced_accuracy(scores, labels, threshold) == 0.5
    assert len({bool(x > threshold) for x in scores}) == 1


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_does_better_on_validation(seed: int) -> None:
    scores, labels = (torch.from_numpy(x) for x in _random_case(seed, tied=True))
    best = metrics.balanced_accuracy(scores, labels, metrics.threshold_from_validation(scores, labels))
    others = [metrics.balanced_accuracy(scores, labels, t) for t in np.linspace(-0.05, 1.05, 23)]
    assert best == pytest.approx(max(others))


@pytest.mark.parametrize(
    "metric",
    [
        metrics.balanced_accuracy,
        metrics.average_precision,
        metrics.auroc,
        metrics.threshold_from_validation,
        lambda s, y: metrics.tpr_at_fpr(s, y, 0.05),
    ],
)
def test_a_missing_class_is_refused(metric) -> None:
    with pytest.raises(ValueError, match=r"labels are \[1\], expected both 0 \(real\) and 1 \(generated\)"):
        metric(torch.tensor([0.1, 0.2]), torch.tensor([1, 1]))
