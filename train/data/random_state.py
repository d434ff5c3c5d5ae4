"""The states of the random streams in checkpoints, so that a resumed fit draws what the uninterrupted one would."""

import random
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class RandomState(Callback):
    """Keeps the global random streams (torch, its own CUDA device, numpy, Python) of each rank in every checkpoint.

    A rank restores its own: a rank's device has a stream of its own, which no other process draws from. Order, boxes
    and flips of the data need none of this, they are functions of the seed.
    """

    def __init__(self) -> None:
        """Nothing to restore yet."""
        self._saved: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """The states of all ranks as tensors and plain values, which a checkpoint may hold without pickle.

        Every rank must call it: a checkpoint is made by all, and written by the first.
        """
        mine = _read_streams()
        if not _is_one_of_several():
            return {"ranks": [mine]}
        states: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(states, mine)
        return {"ranks": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember states until training starts."""
        self._saved = state_dict.get("ranks") or [state_dict]  # older checkpoints hold those of the first rank alone

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore this rank's, after everything that is built anew on resuming has drawn what it wanted."""
        if not self._saved:
            return
        rank = torch.distributed.get_rank() if _is_one_of_several() else 0
        _restore_streams(self._saved[min(rank, len(self._saved) - 1)])
        self._saved = []


def _is_one_of_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _read_streams() -> dict[str, Any]:
    name, keys, position, has_gauss, cached_gaussian = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],  # of the device that a rank is on
        "numpy": [str(name), [int(key) for key in keys], int(position), int(has_gauss), float(cached_gaussian)],
        "python": random.getstate(),
    }


def _restore_streams(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state(state["cuda"][0].cpu())
    np.random.set_state(tuple(state["numpy"]))
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
