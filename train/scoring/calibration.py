"""What is fitted on validation scores alone: the decision threshold, the temperature, and the bands of unsure scores.

None of them changes the order of scores. A score above the threshold means "generated"; dividing the log-odds of a
probability by the temperature makes it say how often such images are generated; a score inside a band is answered
with "unsure", and the wider the band, the smaller the coverage (the share of images that get an answer).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from train.scoring import metrics

COVERAGES = (0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of the validation samples that the bands leave answered."""
TEMPERATURES = 0.05, 20.0
"""Lowest and highest temperature. Validation scores without a single mistake ask for the lowest one."""
_MOST_NUMBERS = 100
_EDGE = 1e-15  # keeps log-odds finite: ±34.5 at most


@dataclass(frozen=True)
class Calibration:
    """How scores are turned into answers.

    The values of the fields when none is given say that nothing was fitted: a fit always finds bands. Checkpoints of
    fits without validation hold them.

    Attributes:
        threshold: Score above which an image is called generated.
        temperature: Divisor of the log-odds; 1 leaves probabilities as they are.
        bands: For each of `COVERAGES` the ends (low, high) of the unsure scores around the threshold, both answered
            themselves; empty where none were fitted.
    """

    threshold: float = 0.5
    temperature: float = 1.0
    bands: tuple[tuple[float, float], ...] = ()

    @property
    def is_fitted(self) -> bool:
        """Whether anything was fitted; a threshold that nobody chose must not be used as one that was."""
        return self != Calibration()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """Read what `to_dict` gave, also after a pass through JSON; content of a stranger's file.

        Raises:
            ValueError: If it is something else.
        """
        try:
            bands = tuple((float(low), float(high)) for low, high in values["bands"])
            found = cls(float(values["threshold"]), float(values["temperature"]), bands)
            if not all(map(math.isfinite, (found.threshold, found.temperature, *chain(*bands)))):
                raise ValueError("a number is not finite")
            if found.temperature <= 0:
                raise ValueError(f"temperature is {found.temperature}: expected more than 0")
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"its calibration cannot be read: {error}") from error
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_tensor(cls, values: Tensor) -> "Calibration":
        """Read what `to_tensor` gave, or the lone threshold (no dimension) that older checkpoints hold.

        Raises:
            ValueError: If it is something else.
        """
        if not isinstance(values, Tensor) or values.numel() not in range(1, _MOST_NUMBERS):
            raise ValueError("its calibration cannot be read: it is no short list of numbers")
        threshold, temperature, *edges = [*values.flatten().tolist(), cls.temperature][: max(2, values.numel())]
        pairs = list(zip(edges[::2], edges[1::2], strict=True))
        return cls.from_dict({"threshold": threshold, "temperature": temperature, "bands": pairs})

    def to_tensor(self) -> Tensor:
        """Threshold, temperature, then low and high of each band: (2 + 2 · bands,), float64."""
        edges = [edge for band in self.bands for edge in band]
        return torch.tensor([self.threshold, self.temperature, *edges], dtype=torch.float64)

    def band(self, coverage: float) -> tuple[float, float] | None:
        """Ends of the unsure scores that leave one of `COVERAGES` answered; None where none were fitted."""
        return dict(zip(COVERAGES, self.bands, strict=False)).get(coverage)

    def scale_values(self, scores: Sequence[float]) -> list[float]:
        """`scale` of plain numbers."""
        return [float(value) for value in self.scale(torch.tensor(scores, dtype=torch.float64))]

    def scale(self, probabilities: Tensor) -> Tensor:
        """Probabilities with the temperature applied, (samples,), float64."""
        return torch.sigmoid(log_odds(probabilities) / self.temperature)


def fit_calibration(scores: Tensor, labels: Tensor, *, is_probability: bool = True) -> Calibration:
    """Fit everything on validation samples.

    Args:
        scores: (samples,), higher for generated.
        labels: (samples,), 0 real, 1 generated.
        is_probability: Whether scores are probabilities. Otherwise the temperature stays 1, and a band is as wide on
            both sides of the threshold in scores instead of in log-odds.

    Raises:
        ValueError: If a class is missing.
    """
    threshold = metrics.threshold_from_validation(scores, labels)
    temperature = fit_temperature(log_odds(scores), labels) if is_probability else 1.0
    return Calibration(threshold, temperature, _fit_bands(scores.double(), threshold, is_probability))


def log_odds(probabilities: Tensor) -> Tensor:
    """Log-odds of probabilities, (samples,), float64, kept finite."""
    return torch.logit(probabilities.double(), eps=_EDGE)


def fit_temperature(margins: Tensor, labels: Tensor) -> float:
    """The temperature T of least negative log-likelihood of sigmoid(margin / T) (Guo et al. 2017), within its limits.

    The loss is convex in 1 / T, so halving an interval on the sign of its slope finds the minimum.

    Args:
        margins: Log-odds of "generated", (samples,), float64.
        labels: (samples,), 0 real, 1 generated.
    """
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(60):
        middle = (low + high) / 2
        slope = ((torch.sigmoid(margins * middle) - labels) * margins).mean()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 2 / (low + high)


def _fit_bands(scores: Tensor, threshold: float, is_probability: bool) -> tuple[tuple[float, float], ...]:
    """The band around the threshold that holds 1 − coverage of the samples, for each coverage."""
    places = log_odds(scores) if is_probability else scores
    centre = log_odds(torch.tensor(threshold, dtype=torch.float64)).item() if is_probability else threshold
    distances = (places - centre).abs().sort().values
    bands = []
    for coverage in COVERAGES:
        num_unsure = int((1 - coverage) * len(scores) + 1e-9)  # 0.1 × 10 comes out below 1
        if num_unsure == 0:
            bands.append((threshold, threshold))
            continue
        width = distances[num_unsure - 1 : num_unsure + 1].mean()
        ends = centre + torch.stack([-width, width])
        low, high = (torch.sigmoid(ends) if is_probability else ends).tolist()
        bands.append((low, high))
    return tuple(bands)
