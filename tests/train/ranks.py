"""One process, or one of two: a few training steps on given global batches; run by test_ranks."""

import sys
import warnings
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader

from tests.train.test_task import TINY, TinyDataModule
from train.task import LareTask

BATCH, STEPS = 4, 3


class GlobalBatches(TinyDataModule):
    """The same global batches whatever the number of ranks: each rank takes its share of every one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.images = self.maps.double(), self.images.double() / 255

    def train_dataloader(self) -> DataLoader:
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        share = BATCH // ranks
        rows = [torch.arange(step * BATCH, (step + 1) * BATCH) for step in range(STEPS)]
        mine = [r[rank * share : (rank + 1) * share] for r in rows]
        batches = [{"image": self.images[r], "lare": self.maps[r], "label": self.labels[r], "row": r} for r in mine]
        return DataLoader(batches, batch_size=None)


class FrozenStatistics(Callback):
    """Batch norm by its running statistics: batch statistics are those of a rank's own share."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for layer in pl_module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()


def main(num_ranks: int, out: Path) -> None:
    """Train, and save the weights."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    task = LareTask(**TINY, learning_rate=1e-2, schedule="constant")
    task.model.spatial.dropout.p = 0.0
    trainer = Trainer(
        accelerator="cpu",
        devices=num_ranks,
        strategy="ddp" if num_ranks > 1 else "auto",
        precision="64-true",
        gradient_clip_val=0.5,
        max_epochs=1,
        limit_val_batches=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[FrozenStatistics()],
    )
    trainer.fit(task, datamodule=GlobalBatches())
    if trainer.is_global_zero:
        torch.save({"weights": task.model.state_dict(), "steps": trainer.global_step}, out)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
