"""Is a picture like the training images? Where it is not, nothing was measured about the detector's answer."""

from dataclasses import dataclass

from detect.prepare import PIXELS
from detect.verdict import ImageFacts, Note
from train import TrainingFacts

_NAMES = {
    "mean_lare": ("mean_lare", "mean error", "{:.3g}"),
    "gradient_energy": ("detail", "local detail", "{:.2e}"),
    "jpeg_quality": ("jpeg_quality", "JPEG quality", "{:.0f}"),
}
"""Measure → code of its note, its name for a person, and how its values are written."""
CODES = ("size", "format", *(code for code, *_ in _NAMES.values()))
"""Codes of all notes of `Domain.check`."""


@dataclass(frozen=True)
class Domain:
    """The training images, as far as pictures are compared with them."""

    facts: TrainingFacts

    def check(self, image: ImageFacts, mean_lare: float, gradient_energy: float) -> tuple[Note, ...]:
        """A note for each way in which a picture is unlike the training images; none where it is like them.

        Args:
            image: The picture's file.
            mean_lare: Mean of its error map.
            gradient_energy: As `Prepared.gradient_energy`.
        """
        values = {
            "jpeg_quality": image.jpeg_quality,
            "mean_lare": mean_lare,
            "gradient_energy": gradient_energy,
        }
        notes = [self._check_sides(image), self._check_format(image)]
        notes += [self._check_range(name, value) for name, value in values.items() if value is not None]
        return tuple(note for note in notes if note is not None)

    def _check_sides(self, image: ImageFacts) -> Note | None:
        short, long = sorted((image.width, image.height))
        ranges = self.facts.ranges
        if "short_side_px" not in ranges or "long_side_px" not in ranges:
            return None
        if _is_within(short, ranges["short_side_px"]) and _is_within(long, ranges["long_side_px"]):
            return None
        seen = " and ".join(
            f"{name} sides of {_span(ranges[key], '{:.0f}')} px"
            for name, key in (("short", "short_side_px"), ("long", "long_side_px"))
        )
        return Note("size", f"It has {image.width} × {image.height} px; the training images have {seen}.")

    def _check_format(self, image: ImageFacts) -> Note | None:
        if image.format in (PIXELS, *self.facts.formats):
            return None
        seen = " and ".join(sorted(self.facts.formats))
        return Note("format", f"It is a {image.format} file; the training images are {seen} files.")

    def _check_range(self, measure: str, value: float) -> Note | None:
        if measure not in self.facts.ranges or _is_within(value, self.facts.ranges[measure]):
            return None
        code, name, form = _NAMES[measure]
        low, high = self.facts.ranges[measure]
        side = "below" if value < low else "above"
        return Note(
            code,
            f"Its {name} is {form.format(value)}, {side} that of 99 % of the training images "
            f"({_span((low, high), form)}).",
        )


def _is_within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]


def _span(ends: tuple[float, float], form: str) -> str:
    low, high = (form.format(end) for end in ends)
    return low if low == high else f"{low} to {high}"
