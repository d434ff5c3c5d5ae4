"""Whether losses are finite, asked of the device rarely: each answer makes the processor wait for it."""

import torch
from torch import Tensor

CHECK_EVERY = 50
"""Steps between two answers; before a checkpoint and at the end of an epoch there is one too."""


class FiniteLosses:
    """Keeps, on the device of the losses, the first step whose loss is not finite."""

    def __init__(self) -> None:
        """Nothing has been seen."""
        self._first: Tensor | None = None

    def add(self, loss: Tensor, step: int) -> None:
        """See a step's loss; asks from time to time.

        Raises:
            ValueError: As `check`.
        """
        before = torch.full((), -1, device=loss.device) if self._first is None else self._first
        self._first = torch.where(~loss.detach().isfinite() & (before < 0), step, before)
        if step % CHECK_EVERY == 0:
            self.check()

    def check(self) -> None:
        """Wait for the device.

        Raises:
            ValueError: If a loss was not finite.
        """
        step = -1 if self._first is None else int(self._first)
        if step >= 0:
            raise ValueError(f"the loss is not finite at step {step}: lower the learning rate")
