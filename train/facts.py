"""What the training images are like: quantiles that tell a picture of another kind from them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVELS = (0.005, 0.995)
"""Quantiles between which a picture is like the training images."""
MEASURES = ("short_side_px", "long_side_px", "jpeg_quality", "mean_lare", "gradient_energy")
MAX_IMAGES = 10_000
"""Training images whose maps and pixels are read; sides and formats are of all."""


@dataclass(frozen=True)
class TrainingFacts:
    """What is known of the training images besides their content.

    Attributes:
        num_images: How many there are.
        formats: Pillow's name of a file format → number of images.
        ranges: Of `MEASURES`, those that were measured: the two quantiles `LEVELS`. Sides in px; quality of the JPEGs
            with a standard table; mean LaRE; gradient energy as minus `train.gradient_energy`.
    """

    num_images: int
    formats: Mapping[str, int]
    ranges: Mapping[str, tuple[float, float]]

    @classmethod
    def measure(
        cls,
        formats: Sequence[str] | Mapping[str, int],
        values: Mapping[str, Sequence[float | None] | Mapping[float | None, int]],
    ) -> "TrainingFacts":
        """Facts of images.

        Args:
            formats: Of each image, or the number of images of each.
            values: Measure → value of each image, or the number of images of each value; None where one has none.
        """
        counted = Counter(formats)
        ranges = {}
        for name in MEASURES:
            known = {value: n for value, n in Counter(values.get(name, ())).items() if value is not None}
            if known:
                ranges[name] = _quantiles(known)
        return cls(counted.total(), dict(counted), ranges)

    @classmethod
    def from_dict(cls, content: Any) -> "TrainingFacts":
        """Read what `to_dict` gave; content of a stranger's file.

        Raises:
            ValueError: If it is something else.
        """
        try:
            ranges = {str(name): (float(low), float(high)) for name, (low, high) in content["ranges"].items()}
            formats = {str(name): int(count) for name, count in content["formats"].items()}
            if not np.isfinite(list(ranges.values())).all():
                raise ValueError("a quantile is not finite")
            return cls(int(content["num_images"]), formats, ranges)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"its training facts cannot be read: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        ranges = {name: list(pair) for name, pair in self.ranges.items()}
        return {
            "num_images": self.num_images,
            "formats": dict(self.formats),
            "quantiles": list(LEVELS),
            "ranges": ranges,
        }


def _quantiles(counts: Mapping[float, int]) -> tuple[float, float]:
    """`np.quantile` at `LEVELS` of values that are told by how often each occurs: no more than these are in memory."""
    values = np.array(sorted(counts), np.float64)
    ends = np.cumsum([counts[value] for value in values.tolist()])
    at = np.array(LEVELS) * (int(ends[-1]) - 1)
    below, above = (values[np.searchsorted(ends, place, side="right")] for place in (np.floor(at), np.ceil(at)))
    share, step = at - np.floor(at), above - below
    # As numpy goes between two values: from the nearer one.
    low, high = np.where(share < 0.5, below + share * step, above - (1 - share) * step).tolist()
    return low, high
