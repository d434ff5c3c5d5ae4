"""The callback that gathers predictions of all ranks and writes the prediction file."""

import logging
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from cache_schema import new_opened
from train.scoring.prediction_file import COLUMNS, prediction_table
from train.task import LareTask

logger = logging.getLogger(__name__)


class PredictionWriter(Callback):
    """Writes the predictions of all ranks as one file, sorted by row."""

    def __init__(self, path: str = "predictions.parquet", overwrite: bool = False) -> None:
        """Remember where to write.

        Args:
            path: The file; a relative path starts at the run's output folder.
            overwrite: Whether an existing file is replaced; otherwise it is refused.
        """
        self.path = path
        self.overwrite = overwrite
        self._batches: list[dict[str, Tensor]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse an existing file before the work.

        Raises:
            FileExistsError: If the file exists and `overwrite` is off.
        """
        if stage == "predict" and not self.overwrite and self._target(trainer).exists():
            raise FileExistsError(f"{self._target(trainer)} is there already: pass --predictions.overwrite=true")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start collecting."""
        self._batches = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect a batch's rows and logits."""
        self._batches.append(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the ranks' predictions and write them, whole or not at all."""
        rows, logits = _gather(trainer, self._batches)
        if not trainer.is_global_zero:
            return
        index = trainer.datamodule.join.dataset.table(COLUMNS)  # type: ignore[attr-defined]
        assert isinstance(pl_module, LareTask)
        table = prediction_table(index, rows, logits, pl_module.calibration, pl_module.allowed_differences)
        target = self._target(trainer)
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_opened(target) as file:
            pq.write_table(table, file)
        logger.info("%d predictions in %s", len(table), target)

    def _target(self, trainer: Trainer) -> Path:
        return Path(trainer.default_root_dir) / self.path


def _gather(trainer: Trainer, batches: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Rows and logits of all ranks' batches."""
    parts = [batches]
    if trainer.world_size > 1:
        parts = [[] for _ in range(trainer.world_size)]
        torch.distributed.all_gather_object(parts, batches)
    everything = [batch for part in parts for batch in part]
    if not everything:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, 2)
    return torch.cat([batch["row"] for batch in everything]), torch.cat([batch["logits"] for batch in everything])
