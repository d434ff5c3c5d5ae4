"""The callback that gathers predictions of all ranks and writes the prediction file."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from cache_schema import IndexView, new_opened
from train.scoring.prediction_file import COLUMNS, Origin, hash_predictions, prediction_table, read_origin
from train.task import LareTask

logger = logging.getLogger(__name__)


RESULTS_NAME = "results.json"
"""What `evaluate` of `make eval` writes beside the predictions."""


class PredictionWriter(Callback):
    """Writes the predictions of all ranks as one file, sorted by row. Results of those before it are removed."""

    def __init__(self, path: str = "predictions.parquet", overwrite: bool = False) -> None:
        """Remember where to write.

        Args:
            path: The file, below the output folder.
            overwrite: Whether an existing file is replaced, with results.json of it; otherwise it is refused. That of
                another dataset is never replaced.
        """
        self.path = path
        self.overwrite = overwrite
        self._batches: list[dict[str, Tensor]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse an existing file before the work, and a place elsewhere.

        Raises:
            FileExistsError: If the file exists and `overwrite` is off, or it is of another dataset.
            ValueError: If the path leaves the output folder.
        """
        if stage != "predict":
            return
        target, out = self._target(trainer), Path(trainer.default_root_dir)
        if not target.parent.resolve().is_relative_to(out.resolve()) or target.name in ("", ".."):
            raise ValueError(f"predictions.path is {self.path}: expected a file below --out, which is {out}")
        if not target.exists():
            return
        if not self.overwrite:
            raise FileExistsError(f"{target} is there already: pass --predictions.overwrite=true")
        there = _find_origin(target)
        here = trainer.datamodule.join.dataset.dataset_id  # type: ignore[attr-defined]
        if there and there.dataset_id != here:
            raise FileExistsError(f"{target} is of another dataset: choose another --out (by make: OUT=)")

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
        join = trainer.datamodule.join  # type: ignore[attr-defined]
        weights = hash_predictions(Path(trainer.ckpt_path)) if trainer.ckpt_path else None
        origin = Origin(join.dataset.dataset_id, tuple(cache.fingerprint for cache in join.caches), weights)
        assert isinstance(pl_module, LareTask)
        fitted = pl_module.calibration, pl_module.allowed_differences
        table = prediction_table(IndexView(join.dataset, COLUMNS), rows, logits, *fitted, origin)
        target = self._target(trainer)
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_results(target)
        with new_opened(target) as file:
            pq.write_table(table, file)
        logger.info("%d predictions in %s", len(table), target)

    def _target(self, trainer: Trainer) -> Path:
        return Path(trainer.default_root_dir) / self.path


def remove_results(predictions: Path) -> None:
    """Remove results.json beside predictions that are about to be replaced, if it says that it is of them."""
    results = predictions.with_name(RESULTS_NAME)
    try:
        settings = json.loads(results.read_text(encoding="utf-8"))["settings"]
        named = [path for paths in settings["readings"].values() for path in paths]
        hashes = [each for every in settings.get("readings_sha256", {}).values() for each in every]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return  # not there, or another file of that name
    if any(Path(path).name == predictions.name for path in named if isinstance(path, str)) and (
        not hashes or (predictions.is_file() and hash_predictions(predictions) in hashes)
    ):
        results.unlink()
        logger.info("%s was of the predictions before and is removed", results)


def _find_origin(path: Path) -> Origin | None:
    try:
        return read_origin(path)
    except ValueError:
        return None  # what lies there is no prediction file


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
