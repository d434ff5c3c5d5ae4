"""Copies of what a plan will need from object storage, made while the batches before it are trained on."""

from collections.abc import Callable, Iterable
from typing import Self

import numpy as np

from cache_schema import Ahead, Original


class AheadOfPlan:
    """Has tars and their stores copied in the order in which batches first need them, as a context.

    The plan is followed no farther than that: an epoch may have millions of batches.

    Args:
        plan: Numbers of the tars that each batch needs, in the order of the batches.
        originals: Number of a tar → what is copied of it.
        num_ahead: Tars and stores that may be copied before a batch needs them.
    """

    def __init__(self, plan: Iterable[np.ndarray], originals: Callable[[int], list[Original]], num_ahead: int) -> None:
        self._plan, self._originals_of, self._num_ahead = iter(plan), originals, num_ahead
        self._steps: list[int] = []
        """Batch that first needs an original."""
        self._originals: list[Original] = []
        self._seen: set[int] = set()
        self._num_followed = self._position = 0
        self._ahead = Ahead(self._originals, num_ahead)

    def __enter__(self) -> Self:
        self.reach(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.close()

    def reach(self, step: int) -> None:
        """Tell which batch is there; what comes after it is begun."""
        while self._num_followed <= step or len(self._originals) - self._position < self._num_ahead:
            batch = next(self._plan, None)
            if batch is None:
                break
            for n in np.unique(batch).tolist():
                self._add(n)
            self._num_followed += 1
        while self._position < len(self._steps) and self._steps[self._position] <= step:
            self._position += 1
        self._ahead.reach(self._position - 1)

    def _add(self, n: int) -> None:
        if n not in self._seen:
            self._seen.add(n)
            found = self._originals_of(n)
            self._originals += found
            self._steps += [self._num_followed] * len(found)
