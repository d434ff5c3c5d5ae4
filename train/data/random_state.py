"""The states of the random streams in checkpoints, so that a resumed fit draws what the uninterrupted one would."""

import random
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class RandomState(Callback):
    """Keeps the global random streams (torch, CUDA, numpy, Python) in every checkpoint and restores them.

    Of several ranks the first one's are kept: all are seeded alike and draw equally often. Order, boxes and flips of
    the data need none of this, they are functions of the seed.
    """

    def __init__(self) -> None:
        """Nothing to restore yet."""
        self._saved: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """The states as tensors and plain values, which a checkpoint may hold without pickle."""
        name, keys, position, has_gauss, cached_gaussian = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [str(name), [int(key) for key in keys], int(position), int(has_gauss), float(cached_gaussian)],
            "python": random.getstate(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember states until training starts."""
        self._saved = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore them, after everything that is built anew on resuming has drawn what it wanted."""
        if not self._saved:
            return
        torch.set_rng_state(self._saved["torch"].cpu())
        if len(self._saved["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._saved["cuda"]])
        np.random.set_state(tuple(self._saved["numpy"]))
        version, numbers, gauss = self._saved["python"]
        random.setstate((version, tuple(numbers), gauss))
        self._saved = {}
