"""From a score to a verdict: who is called generated, who real, and when nobody can tell."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from detect.verdict import Note, VerdictName
from train import DetectorFile

OUTSIDE = Note(
    "outside_training",
    "It scores like a generated picture, but it is unlike the training images, where nothing was measured.",
)


class Decision(NamedTuple):
    """What a score means."""

    verdict: VerdictName
    probability: float | None
    p_real: float
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Rule:
    """The rule of one detector at one false-alarm rate.

    "generated" needs a score that at most `rate` of the validation photographs reach, above the unsure band, and a
    picture like the training images. "real" needs a score below the band that photographs do reach. All else is
    "unsure". So that at most `rate` of the photographs that are exchangeable with the validation ones are called
    generated.

    Attributes:
        description: The detector's.
        asked: False-alarm rate that was asked for.
    """

    description: DetectorFile
    asked: float

    def __post_init__(self) -> None:
        """Raise ValueError for a rate that is none."""
        if not 0 < self.asked < 1:
            raise ValueError(f"false_alarm_rate is {self.asked}: expected more than 0 and less than 1")

    @property
    def rate(self) -> float:
        """The rate that is kept: as asked, or the smallest one that the validation photographs support."""
        return max(self.asked, self.description.photographs.smallest_rate)

    def check_strict(self) -> None:
        """Raise ValueError where the rate that was asked for cannot be kept."""
        if self.rate > self.asked:
            raise ValueError(f"{self._too_few()} Ask for a larger --false_alarm_rate, or leave --strict out.")

    def _too_few(self) -> str:
        photographs, needed = self.description.photographs, math.ceil(1 / self.asked) - 1
        return (
            f"A false-alarm rate of {_percent(self.asked)} needs {needed} groups of validation photographs; "
            f"this detector has {photographs.num_groups}, which support {_percent(photographs.smallest_rate)}."
        )

    @property
    def notes(self) -> tuple[Note, ...]:
        """What every verdict says of the rate."""
        return (Note("false_alarm_rate", self._too_few()),) if self.rate > self.asked else ()

    def decide(self, score: float, unlike: tuple[Note, ...]) -> Decision:
        """The verdict on a score.

        Args:
            score: Higher for generated.
            unlike: How the picture is unlike the training images.
        """
        p_real = self.description.photographs.p_real(score)
        calibration, band = self.description.calibration, self.description.band
        probability = None
        if calibration is not None:
            (probability,) = calibration.scale_values([score])
        low, high = band or (-float("inf"), -float("inf"))
        verdict: VerdictName = "unsure"
        notes = unlike
        if p_real <= self.rate and score >= high:
            verdict = "unsure" if unlike else "generated"
            notes = (OUTSIDE, *notes) if unlike else notes
        elif p_real > self.rate and score <= low:
            verdict = "real"
        return Decision(verdict, probability, p_real, notes)


def _percent(share: float) -> str:
    """A share with two digits, as a person writes it: 1 %, 14 %, 0.25 %."""
    return f"{100 * share:.2g} %"
