"""Several tests at once: which of them are significant together."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
LEVEL = 0.05
"""Chance of at least one finding where there is nothing to find."""


def holm(p_values: Mapping[K, float]) -> set[K]:
    """What is significant at `LEVEL` of all p-values together (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    found: set[K] = set()
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda each: each[1])):
        if p > LEVEL / (len(p_values) - place):
            break
        found.add(name)
    return found
