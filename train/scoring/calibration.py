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
from torch.nn.functional import binary_cross_entropy_with_logits

from train.scoring import metrics

COVERAGES = (0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of the validation samples that the bands leave answered."""
TEMPERATURES = 1.0, 20.0
"""Lowest and highest temperature. It never sharpens: validation scores with few mistakes ask for any certainty, and an
unseen source then gets certain wrong answers."""
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
        nll: Mean negative log-likelihood of the validation labels, in nats, before and after the temperature; None
            for scores that are no probabilities, and for older weights.
    """

    threshold: float = 0.5
    temperature: float = 1.0
    bands: tuple[tuple[float, float], ...] = ()
    nll: tuple[float, float] | None = None

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
            before_after = None
            if values.get("nll") is not None:
                before, after = values["nll"]
                before_after = float(before), float(after)
            found = cls(float(values["threshold"]), float(values["temperature"]), bands, before_after)
            numbers = found.threshold, found.temperature, *chain(*bands), *(before_after or ())
            if not all(map(math.isfinite, numbers)):
                raise ValueError("a number is not finite")
            if found.temperature <= 0:
                raise ValueError(f"temperature is {found.temperature}: expected more than 0")
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"its calibration cannot be read: {error}") from error
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `nll` is left out where it is None, as older calibrations have it."""
        return {name: value for name, value in asdict(self).items() if name != "nll" or value is not None}

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
        bands, losses = pairs[: len(COVERAGES)], pairs[len(COVERAGES) :]
        found = {"threshold": threshold, "temperature": temperature, "bands": bands}
        return cls.from_dict(found | {"nll": losses[0] if losses else None})

    def to_tensor(self) -> Tensor:
        """Threshold, temperature, low and high of each band, then `nll`: (2 + 2 · bands,) or 2 more, float64.

        `nll` stands behind a band for each of `COVERAGES`, which every fit finds, and is left out otherwise.
        """
        losses = self.nll if self.nll is not None and len(self.bands) == len(COVERAGES) else ()
        edges = [*chain(*self.bands), *losses]
        return torch.tensor([self.threshold, self.temperature, *edges], dtype=torch.float64)

    @property
    def limit(self) -> str | None:
        """What to know where the temperature lies at a limit instead of at the least loss; None where it does not."""
        if self.nll is None or TEMPERATURES[0] < self.temperature < TEMPERATURES[1]:
            return None
        if self.temperature <= TEMPERATURES[0]:
            return (
                "Temperature 1: validation asks for no caution. Probabilities are left as they are, "
                "as sharper ones would be wrong about new generators."
            )
        return (
            f"Temperature {self.temperature:g} is the highest allowed: validation scores tell next to nothing. "
            "Check that real and generated are not confused."
        )

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
    temperature, losses = 1.0, None
    if is_probability:
        temperature = fit_temperature(log_odds(scores), labels)
        losses = compute_nll(scores, labels), compute_nll(scores, labels, temperature)
    return Calibration(threshold, temperature, _fit_bands(scores.double(), threshold, is_probability), losses)


def describe_fits(fitted: Sequence[Calibration]) -> list[str]:
    """The temperatures of a reading's seeds, their losses on validation, and which lie at a limit, in sentences."""
    known = [one for one in fitted if one.nll is not None]
    if not known:
        return []
    seeds = "" if len(known) == 1 else f" (means of {len(known)} seeds)"
    before, after = (sum(one.nll[i] for one in known if one.nll) / len(known) for i in (0, 1))
    lines = [
        f"Temperature {sum(one.temperature for one in known) / len(known):.2f}{seeds}: negative log-likelihood on "
        f"validation {before:.3f} before, {after:.3f} after."
    ]
    return lines + list(dict.fromkeys(one.limit for one in known if one.limit))


def log_odds(probabilities: Tensor) -> Tensor:
    """Log-odds of probabilities, (samples,), float64, kept finite."""
    return torch.logit(probabilities.double(), eps=_EDGE)


def compute_nll(probabilities: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of labels, in nats.

    Args:
        probabilities: Of "generated", (samples,).
        labels: (samples,), 0 real, 1 generated.
        temperature: Divisor of the log-odds.
    """
    return binary_cross_entropy_with_logits(log_odds(probabilities) / temperature, labels.double()).item()


def fit_temperature(margins: Tensor, labels: Tensor) -> float:
    """The temperature T of least negative log-likelihood of sigmoid(margin / T) (Guo et al. 2017), within its limits.

    Targets are smoothed as if each class had one sample more of the other (Platt 1999), so that a validation set
    without mistakes does not ask for certainty. The loss is convex in 1 / T, so halving an interval on the sign of its
    slope finds the minimum.

    Args:
        margins: Log-odds of "generated", (samples,), float64.
        labels: (samples,), 0 real, 1 generated.
    """
    num_real, num_generated = int((labels == 0).sum()), int((labels == 1).sum())
    smooth = torch.tensor([1 / (num_real + 2), (num_generated + 1) / (num_generated + 2)], dtype=torch.float64)
    targets = smooth[labels.long()]
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]

    def slope(sharpness: float) -> float:
        return ((torch.sigmoid(margins * sharpness) - targets) * margins).mean().item()

    for limit, is_beyond in ((high, slope(high) <= 0), (low, slope(low) >= 0)):
        if is_beyond:
            return 1 / limit
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
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
