"""How often photographs score as high as a picture: conformal p-values against the photographs of validation.

A photograph's score is compared with those of validation photographs. If a new photograph is exchangeable with them,
its p-value is at most α in at most a share α of cases, whatever the detector is worth. Photographs of one group (a
scene, a clip) depend on each other, so that groups are counted instead, each photograph for its share of its group:
the hierarchical form of Lee, Barber and Willett 2023 (arXiv 2306.06342), exact for a picture of a new group.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PHOTOGRAPHS = 10_000
"""Photographs that are kept; of more, those whose keys have the smallest hashes."""


@dataclass(frozen=True)
class Photographs:
    """Scores of the validation photographs.

    Attributes:
        scores: Ascending.
        groups: Number of each one's group, 0 … num_groups − 1; they name nothing.
    """

    scores: tuple[float, ...]
    groups: tuple[int, ...]

    @classmethod
    def of(cls, scores: Sequence[float], groups: Sequence[str]) -> "Photographs":
        """Sort scores, and number their groups.

        Raises:
            ValueError: If there are none, or one is not finite.
        """
        values = np.asarray(scores, dtype=np.float64)
        if not len(values):
            raise ValueError("there are no validation photographs: nothing could be said about false alarms")
        if not np.isfinite(values).all():
            raise ValueError(f"{int((~np.isfinite(values)).sum())} of {len(values)} validation scores are not finite")
        order = np.argsort(values, kind="stable")
        numbers = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
        return cls(tuple(values[order].tolist()), tuple(numbers[order].tolist()))

    @classmethod
    def from_dict(cls, content: Any) -> "Photographs":
        """Read what `to_dict` gave; content of a stranger's file.

        Raises:
            ValueError: If it is something else.
        """
        try:
            scores, groups = content["scores"], content["groups"]
            if not 0 < len(scores) == len(groups) <= MAX_PHOTOGRAPHS:
                raise ValueError(f"{len(scores)} scores of {len(groups)} groups")
            names = [f"{int(group):06d}" for group in groups]  # in their order: numbers stay
            return cls.of([float(score) for score in scores], names)
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"its validation photographs cannot be read: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "num_photographs": len(self.scores),
            "num_groups": self.num_groups,
            "scores": list(self.scores),
            "groups": list(self.groups),
        }

    @cached_property  # asked for with every picture
    def num_groups(self) -> int:
        """How many groups the photographs are of."""
        return len(set(self.groups))

    @property
    def smallest_rate(self) -> float:
        """The smallest p-value that there is, 1 / (1 + groups): no smaller false-alarm rate can be kept."""
        return 1 / (1 + self.num_groups)

    @cached_property
    def _ascending(self) -> NDArray[np.float64]:
        return np.asarray(self.scores, dtype=np.float64)

    @cached_property
    def _weights_above(self) -> NDArray[np.float64]:
        """Weight of the photographs from each one up, in groups; 0 at the end: (photographs + 1,)."""
        sizes = np.bincount(self.groups)
        weights = 1 / sizes[list(self.groups)]
        return np.append(np.cumsum(weights[::-1])[::-1], 0.0)

    def p_real(self, score: float) -> float:
        """Share of groups, that of the picture counted, that score at least as high, in (0, 1].

        Where each photograph is a group of its own: (1 + photographs that score at least as high) / (1 + photographs).
        """
        at = int(np.searchsorted(self._ascending, score, side="left"))
        return min(1.0, (1 + float(self._weights_above[at])) / (1 + self.num_groups))


def choose_by_hash(keys: Sequence[str], most: int) -> NDArray[np.int64]:
    """Positions of at most `most` keys, ascending: those with the smallest SHA-256. No order plays a role."""
    if len(keys) <= most:
        return np.arange(len(keys))
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    return np.sort(np.asarray(sorted(range(len(keys)), key=digests.__getitem__)[:most]))
