"""A callback for tests of resuming: the process ends as by `kill -9`, in the middle of a step."""

import os
import signal

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer


class KillAt(Callback):
    """Kills the process after the gradients of a step, before its update."""

    def __init__(self, step: int = 0) -> None:
        self.step = step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
