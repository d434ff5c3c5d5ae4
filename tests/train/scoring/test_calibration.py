"""Temperature and unsure bands: by hand, against a plain search, and what older checkpoints hold."""

import json

import numpy as np
import pytest
import torch

from train.scoring import metrics
from train.scoring.calibration import (
    COVERAGES,
    TEMPERATURES,
    Calibration,
    compute_nll,
    describe_fits,
    fit_calibration,
    fit_temperature,
    log_odds,
)


def _overconfident(scale: float = 3.0, num: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities whose log-odds are `scale` times those that the labels were drawn with."""
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 1.5, num)
    labels = rng.random(num) < 1 / (1 + np.exp(-margins))
    return torch.sigmoid(torch.from_numpy(margins * scale)), torch.from_numpy(labels.astype(np.int64))


def _expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = 15) -> float:
    """Written out: bins of equal width, each weighted by its share of the samples."""
    number = np.minimum((probabilities * num_bins).astype(int), num_bins - 1)
    gaps = [abs(labels[number == n].mean() - probabilities[number == n].mean()) for n in np.unique(number)]
    return float(np.average(gaps, weights=[(number == n).sum() for n in np.unique(number)]))


@pytest.mark.parametrize("scale", [1.5, 3.0])
def test_temperature_undoes_overconfidence_and_lowers_the_calibration_error(scale: float) -> None:
    scores, labels = _overconfident(scale)
    fitted = fit_calibration(scores, labels)
    assert fitted.temperature == pytest.approx(scale, rel=0.1)
    scaled = fitted.scale(scores)
    before, after = (_expected_calibration_error(x.numpy(), labels.numpy()) for x in (scores, scaled))
    assert metrics.calibration_error(scores, labels) == pytest.approx(before, abs=1e-6)
    assert metrics.calibration_error(scaled, labels) == pytest.approx(after, abs=1e-6)
    assert after < 0.03
    assert after < before
    assert fitted.limit is None


def test_no_temperature_has_a_lower_loss_on_smoothed_targets() -> None:
    scores, labels = _overconfident()
    margins = log_odds(scores)
    num_real, num_generated = int((labels == 0).sum()), int(labels.sum())
    targets = torch.where(labels == 1, (num_generated + 1) / (num_generated + 2), 1 / (num_real + 2)).double()

    def loss(temperature: float) -> float:
        return torch.nn.functional.binary_cross_entropy_with_logits(margins / temperature, targets).item()

    best = loss(fit_temperature(margins, labels))
    assert all(best <= loss(t) + 1e-12 for t in np.geomspace(*TEMPERATURES, 200))


@pytest.mark.parametrize(
    ("scores", "limit", "words"),
    [([0.4, 0.45, 0.55, 0.6], 0, "left as they are"), ([0.999, 0.99, 0.01, 0.001], 1, "highest allowed")],
)
def test_temperature_of_cautious_and_of_reversed_scores_is_a_limit_and_says_so(
    scores: list[float], limit: int, words: str
) -> None:
    fitted = fit_calibration(torch.tensor(scores), torch.tensor([0, 0, 1, 1]))
    assert fitted.temperature == pytest.approx(TEMPERATURES[limit])
    assert words in (fitted.limit or "")
    assert describe_fits([fitted])[1] == fitted.limit


def _source(num: int, distance: float, scale: float, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of a detector for `num` real and `num` generated images, which lie `distance` sd apart."""
    labels = np.repeat([0, 1], num)
    margins = scale * (rng.normal(size=2 * num) + distance * (labels - 0.5))
    return torch.sigmoid(torch.from_numpy(margins)), torch.from_numpy(labels)


@pytest.mark.parametrize("num", [50, 1000])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("distance", [4.0, 8.0])
def test_a_separable_validation_set_does_not_raise_the_loss_on_an_unseen_source(
    num: int, scale: float, distance: float
) -> None:
    """With T down to 0.05 and plain targets the loss rose from 0.5 to 4 and more; see docs/intervals.md."""
    rng = np.random.default_rng(0)
    for unseen_distance in (0.5, 1.5):
        losses = []
        for _ in range(5):
            fitted = fit_calibration(*_source(num, distance, scale, rng))
            unseen = _source(1000, unseen_distance, scale, rng)
            losses.append([compute_nll(*unseen), compute_nll(*unseen, fitted.temperature)])
        before, after = np.mean(losses, axis=0)
        assert after <= before + 1e-9
        assert fitted.temperature >= 1
    if num == 50 and scale >= 3:  # smoothed targets ask for caution where few samples tell little
        assert fitted.temperature > 1.2


def test_the_loss_before_and_after_is_that_of_the_validation_samples() -> None:
    scores, labels = _overconfident()
    fitted = fit_calibration(scores, labels)
    assert fitted.nll is not None
    by_hand = [
        -np.mean(np.log(np.where(labels == 1, p, 1 - p))) for p in (scores.numpy(), fitted.scale(scores).numpy())
    ]
    assert fitted.nll == pytest.approx(by_hand)
    assert fitted.nll[1] < fitted.nll[0]
    (line,) = describe_fits([fitted, fitted])
    assert f"{by_hand[0]:.3f} before, {by_hand[1]:.3f} after" in line and "2 seeds" in line
    assert fit_calibration(scores, labels, is_probability=False).nll is None
    assert describe_fits([Calibration(0.4, 1.0, ((0.3, 0.5),))]) == []  # older weights


def test_scaling_keeps_the_order_of_scores() -> None:
    scores = torch.tensor([-15.0, -14.0, 0.0, 14.0, 15.0], dtype=torch.float64).sigmoid()
    for temperature in (0.5, 1.0, 4.0):
        assert (Calibration(temperature=temperature).scale(scores).diff() > 0).all()


def test_bands_leave_their_share_of_the_validation_samples_answered() -> None:
    scores, labels = _overconfident(num=1000)
    fitted = fit_calibration(scores, labels)
    accuracies = []
    for target, band in zip(COVERAGES, fitted.bands, strict=True):
        assert band[0] < fitted.threshold < band[1]
        coverage, accuracy = metrics.coverage_and_accuracy(scores, labels, fitted.threshold, band)
        assert coverage == pytest.approx(target, abs=1e-9)
        accuracies.append(accuracy)
    assert accuracies == sorted(accuracies)


def test_band_by_hand() -> None:
    # the threshold is 0; the two samples nearest to it are at distance 1, the next at 3: unsure within ±2
    scores = torch.tensor([-9.0, -3.0, -1.0, 1.0, 3.0, 9.0])
    fitted = fit_calibration(scores, torch.tensor([0, 0, 0, 1, 1, 1]), is_probability=False)
    assert (fitted.threshold, fitted.temperature) == (0.0, 1.0)
    bands = dict(zip(COVERAGES, fitted.bands, strict=True))
    assert bands[0.95] == (0.0, 0.0)  # a twentieth of six samples is none
    assert bands[0.5] == (-3.0, 3.0)  # of four at distances 1, 1, 3, 3 the nearest three: the ends are answered
    assert bands[0.7] == (-1.0, 1.0)
    assert metrics.coverage_and_accuracy(scores, torch.tensor([0, 0, 0, 1, 1, 0]), 0.0, (-2.0, 2.0)) == (4 / 6, 0.75)
    assert metrics.coverage_and_accuracy(scores, torch.tensor([0] * 6), 0.0, (-99.0, 99.0)) == (0.0, None)


def test_calibration_passes_through_json_and_tensor() -> None:
    fitted = fit_calibration(*_overconfident(num=100))
    assert Calibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
    assert Calibration.from_tensor(fitted.to_tensor()) == fitted
    assert Calibration.from_tensor(Calibration().to_tensor()) == Calibration()
    assert fitted.nll is not None
    assert fitted.is_fitted and not Calibration().is_fitted


def test_an_older_calibration_is_read_and_written_without_a_loss() -> None:
    older = {"threshold": 0.3, "temperature": 0.05, "bands": [[0.2, 0.4]] * len(COVERAGES)}
    found = Calibration.from_dict(older)
    assert (found.temperature, found.nll, found.limit) == (0.05, None, None)
    assert json.loads(json.dumps(found.to_dict())) == older
    tensor = torch.tensor([0.3, 0.05, *[0.2, 0.4] * len(COVERAGES)], dtype=torch.float64)
    assert Calibration.from_tensor(tensor) == found


@pytest.mark.parametrize("nll", [[0.1], [0.1, 0.2, 0.3], [0.1, float("nan")], "ab", 3])
def test_a_loss_that_is_none_is_refused(nll: object) -> None:
    with pytest.raises(ValueError, match="its calibration cannot be read"):
        Calibration.from_dict({"threshold": 0.3, "temperature": 1.0, "bands": [], "nll": nll})


def test_an_older_checkpoint_holds_the_threshold_alone() -> None:
    assert Calibration.from_tensor(torch.tensor(0.25, dtype=torch.float64)) == Calibration(threshold=0.25)
