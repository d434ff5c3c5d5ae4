"""Two processes: a fit without a stop, one that is stopped, and the rest of it; run by test_ranks.

The ranks draw from different streams, as they do on a GPU each. Their dropout masks are written a fit and rank.
"""

import os
import sys
import warnings
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from tests.train.packed import CANVAS_PX, extract, module, pack
from train.data.random_state import RandomState
from train.task import LareTask

STEPS, STOP = 4, 2


class OwnStreams(Callback):
    """Seeds each rank differently, and keeps what dropout leaves of each step."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.manual_seed(100 + trainer.global_rank)
        pl_module.model.spatial.dropout.register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, given: tuple[Tensor], found: Tensor) -> None:
        self.kept.append(found.detach() != 0)


def main(folder: Path) -> None:
    """Fit three times, and save what each rank's dropout kept."""
    warnings.simplefilter("ignore")
    dataset = pack(folder / f"data-{_rank()}", train=20, validation=0, test=0, controls=0)
    cache = extract(dataset, folder / f"cache-{_rank()}")
    last = folder / "last.ckpt"
    for name, steps, ckpt in (("whole", STEPS, None), ("stopped", STOP, None), ("resumed", STEPS, last)):
        torch.manual_seed(0)
        task = LareTask(backbone="resnet_tiny_clip", image_size=CANVAS_PX, map_channels=3, schedule="constant")
        task.model.spatial.dropout.p = 0.5
        streams = OwnStreams()
        trainer = Trainer(
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            max_steps=steps,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[streams, RandomState()],
        )
        data = module(dataset, cache, batch_size=2, crop_px=CANVAS_PX)
        trainer.fit(task, datamodule=data, ckpt_path=ckpt, weights_only=True)
        trainer.save_checkpoint(last)
        content = {"kept": streams.kept, "weights": task.model.state_dict()}
        torch.save(content, folder / f"{name}-{trainer.global_rank}.pt")


def _rank() -> str:
    return os.environ.get("LOCAL_RANK", "0")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
