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
    def measure(cls, formats: Sequence[str], values: Mapping[str, Sequence[float | None]]) -> "TrainingFacts":
        """Facts of images.

        Args:
            formats: Of each image.
            values: Measure → value of each image; None where it has none.
        """
        known = {name: [v for v in values[name] if v is not None] for name in MEASURES if name in values}
        ranges = {name: np.quantile(found, LEVELS).tolist() for name, found in known.items() if found}
        return cls(len(formats), dict(Counter(formats)), {n: (low, high) for n, (low, high) in ranges.items()})

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
