"""Temperature and unsure bands: by hand, against a plain search, and what older checkpoints hold."""

import json

import numpy as np
import pytest
import torch

from train.scoring import metrics
from train.scoring.calibration import COVERAGES, TEMPERATURES, Calibration, fit_calibration, fit_temperature, log_odds


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


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_temperature_undoes_overconfidence_and_lowers_the_calibration_error(scale: float) -> None:
    scores, labels = _overconfident(scale)
    fitted = fit_calibration(scores, labels)
    assert fitted.temperature == pytest.approx(scale, rel=0.1)
    scaled = fitted.scale(scores)
    before, after = (_expected_calibration_error(x.numpy(), labels.numpy()) for x in (scores, scaled))
    assert metrics.calibration_error(scores, labels) == pytest.approx(before, abs=1e-6)
    assert metrics.calibration_error(scaled, labels) == pytest.approx(after, abs=1e-6)
    assert after < 0.03
    assert after < before or scale == 1.0


def test_no_temperature_has_a_lower_loss() -> None:
    scores, labels = _overconfident()
    margins = log_odds(scores)

    def loss(temperature: float) -> float:
        scaled = margins / temperature
        return torch.nn.functional.binary_cross_entropy_with_logits(scaled, labels.double()).item()

    best = loss(fit_temperature(margins, labels))
    assert all(best <= loss(t) + 1e-12 for t in np.geomspace(*TEMPERATURES, 200))


@pytest.mark.parametrize(("scores", "limit"), [([0.2, 0.4, 0.6, 0.8], 0), ([0.8, 0.6, 0.4, 0.2], 1)])
def test_temperature_of_faultless_and_of_reversed_scores_is_a_limit(scores: list[float], limit: int) -> None:
    fitted = fit_calibration(torch.tensor(scores), torch.tensor([0, 0, 1, 1]))
    assert fitted.temperature == pytest.approx(TEMPERATURES[limit])


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
    assert fitted.is_fitted and not Calibration().is_fitted


def test_an_older_checkpoint_holds_the_threshold_alone() -> None:
    assert Calibration.from_tensor(torch.tensor(0.25, dtype=torch.float64)) == Calibration(threshold=0.25)
