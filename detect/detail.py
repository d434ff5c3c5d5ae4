"""What a picture's local detail predicts of its mean error: a regression on photographs, and what is left of it.

The error is larger where there is more detail, whoever made the picture. Two numbers of the canvas tell most of a
photograph's mean error: how much detail it has, and how evenly the detail lies.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train import LUMA

DETAIL_VERSION = 1
FEATURES = ("log_mean_gradient_energy", "mean_log_gradient_energy")
"""Logarithm of the mean over the map's cells, and mean over the cells of the logarithm: equal for even detail."""
TARGET = "log_mean_lare"
ROUNDING_ENERGY = 4 / 12 / 255**2
"""Gradient energy of a flat cell whose pixels are rounded to 8 bits; less than that tells nothing."""
MIN_PHOTOGRAPHS = 20
MAX_COEFFICIENT = 1e6
"""Of a stranger's regression: what it predicts stays finite."""

Floats = NDArray[np.float64]


def measure_detail(canvas: NDArray[np.uint8], grid: tuple[int, int]) -> Floats:
    """The local detail of a canvas.

    Args:
        canvas: (S, S, 3), uint8.
        grid: Height and width of the error map, which divide S.

    Returns:
        Values of `FEATURES`, (2,), finite. The gradient energy of a cell is the mean over its pixels of the squared
        differences to the next pixel on the right and below, of luma in [0, 1].
    """
    luma = canvas @ LUMA / 255
    energies = np.zeros_like(luma)
    energies[:, :-1] = np.diff(luma, axis=1) ** 2
    energies[:-1] += np.diff(luma, axis=0) ** 2
    height, width = grid
    cells = energies.reshape(height, len(luma) // height, width, luma.shape[1] // width).mean(axis=(1, 3))
    return np.array([_log(cells.mean()), _log(cells).mean()])


@dataclass(frozen=True)
class Detail:
    """A fitted regression of log mean LaRE on `FEATURES`.

    Attributes:
        intercept: Of the prediction.
        coefficients: One a feature.
        scale: Standard deviation of what the regression leaves of the photographs that it was fitted on, > 0.
        explained: Share of their variance that it explains, R².
        num_photographs: How many they are. No score of theirs is among those that a picture is compared with.
        num_groups: How many groups they are of.
        group_by: What a group is: "file", "folder" or "dataset".
    """

    intercept: float
    coefficients: tuple[float, ...]
    scale: float
    explained: float
    num_photographs: int
    num_groups: int
    group_by: str

    @classmethod
    def fit(cls, features: Floats, mean_lare: Floats, *, num_groups: int, group_by: str) -> "Detail":
        """Fit by least squares.

        Args:
            features: Of photographs, (n, 2), by `measure_detail`.
            mean_lare: Means of their error maps, (n,), >= 0.
            num_groups: Groups that they are of.
            group_by: What a group is.

        Raises:
            ValueError: If there are fewer than `MIN_PHOTOGRAPHS`, or nothing is left to compare scores by.
        """
        num = len(mean_lare)
        if num < MIN_PHOTOGRAPHS:
            raise ValueError(f"{num} photographs are too few for a regression on local detail: {MIN_PHOTOGRAPHS} do")
        target = _log_mean(mean_lare)
        columns = np.column_stack([np.ones(num), features])
        found = np.linalg.lstsq(columns, target)[0]
        left = target - columns @ found
        scale = math.sqrt(float((left**2).sum()) / (num - columns.shape[1]))
        if not scale > 1e-9 * max(1.0, float(np.abs(target).max())):
            raise ValueError("the mean errors of the photographs do not differ: nothing can be told from them")
        explained = 1 - float(left.var() / target.var())
        intercept, *coefficients = found.tolist()
        return cls(intercept, tuple(coefficients), scale, explained, num, num_groups, group_by)

    def score(self, features: Floats, mean_lare: Floats) -> Floats:
        """How far log mean LaRE lies below what local detail predicts, in standard deviations of photographs.

        Args:
            features: (n, 2), by `measure_detail`.
            mean_lare: (n,), >= 0.

        Returns:
            (n,), higher for generated images if the paper is right.
        """
        predicted = self.intercept + features @ np.array(self.coefficients)
        scores: Floats = (predicted - _log_mean(mean_lare)) / self.scale
        return scores

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with all that the numbers mean."""
        return {
            "version": DETAIL_VERSION,
            "target": TARGET,
            "features": list(FEATURES),
            "min_energy": ROUNDING_ENERGY,
            "intercept": self.intercept,
            "coefficients": list(self.coefficients),
            "scale": self.scale,
            "explained": self.explained,
            "num_photographs": self.num_photographs,
            "num_groups": self.num_groups,
            "group_by": self.group_by,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Detail":
        """Read what `to_dict` gave; content of a stranger's file.

        Raises:
            ValueError: If it is something else.
        """
        try:
            wanted = {"version": DETAIL_VERSION, "target": TARGET, "features": [*FEATURES]}
            for name, value in {**wanted, "min_energy": ROUNDING_ENERGY}.items():
                if content[name] != value:
                    raise ValueError(f"{name} is {str(content[name])[:100]}, this code reads {value}")
            coefficients = content["coefficients"]
            if not isinstance(coefficients, list) or len(coefficients) != len(FEATURES):
                raise ValueError(f"expected {len(FEATURES)} coefficients")
            numbers = [_number(value) for value in coefficients]
            scale = _number(content["scale"])
            if scale < 1 / MAX_COEFFICIENT:
                raise ValueError(f"scale is {scale}: expected {1 / MAX_COEFFICIENT} or more")
            return cls(
                _number(content["intercept"]),
                tuple(numbers),
                scale,
                _number(content["explained"]),
                int(_number(content["num_photographs"])),
                int(_number(content["num_groups"])),
                str(content["group_by"])[:20],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"its regression on local detail cannot be read: {error}") from error


def _log_mean(mean_lare: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(mean_lare, np.finfo(np.float32).tiny))
    return logs


def _log(energies: Any) -> Any:
    return np.log(np.maximum(energies, ROUNDING_ENERGY))


def _number(value: Any) -> float:
    """A plain, finite number within `MAX_COEFFICIENT`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_COEFFICIENT:
        raise ValueError(f"{str(value)[:100]} is no number within ±{MAX_COEFFICIENT:g}")
    return float(value)
