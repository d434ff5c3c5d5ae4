"""A callback for tests of resuming: the process gets a signal in the middle of a step, by default that of `kill -9`.

As a program, `python -m train` whose settings may name the callback.
"""

import os
import signal

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from cache_schema.program import run_as_process
from train.__main__ import main
from train.commands import settings_files


class KillAt(Callback):
    """Sends its process a signal after the gradients of a step, before its update."""

    def __init__(self, step: int = 0, number: int = signal.SIGKILL) -> None:
        self.step = step
        self.number = number

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


if __name__ == "__main__":
    settings_files.ALLOWED = (*settings_files.ALLOWED, "tests.train.killer")
    run_as_process(main)
