"""The LightningModule: loss, optimiser, metrics, and the calibration that is fitted on validation."""

import logging
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import LRSchedulerTypeUnion, OptimizerLRScheduler
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cache_schema import base_names, check_choice
from train import resuming
from train.data.loader import Batch
from train.losses import FiniteLosses
from train.model import LareClassifier
from train.record import TRAINED_ON, check_same_features, describe_features, describe_training
from train.scoring import metrics
from train.scoring.calibration import Calibration, fit_calibration
from train.scoring.prediction_file import generated_score
from train.weight_decay import check_groups, parameter_groups

logger = logging.getLogger(__name__)

MONITORS = ("val_auroc", "val_average_precision", "val_accuracy", "val_balanced_accuracy")
"""Validation metrics of which more is better."""


class LogitsAndLabels(Metric):
    """Keeps the logits and labels of an epoch; `compute` gathers all ranks."""

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (batch, 2), labels (batch,)."""
        self.logits.append(logits.detach().float())
        self.labels.append(labels)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Scores (samples,), float64, and labels (samples,), both on the CPU."""
        return generated_score(dim_zero_cat(self.logits)), dim_zero_cat(self.labels).cpu()


class LareTask(LightningModule):
    """Trains and applies a `LareClassifier` on batches of image, lare, label and row.

    Attributes:
        calibration: Threshold, temperature and unsure bands, fitted on validation for the weights of this moment.
            A checkpoint holds the calibration of its own weights. Not `is_fitted` until the first validation.
        allowed_differences: Differences between these features and the trained ones that `allow_difference` permits.
        class_weights: Of the loss, (2,), float32; None where classes are not balanced.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        learning_rate: float = 1e-4,
        optimizer: Literal["adam", "adamw"] = "adam",
        weight_decay: float = 0.0,
        schedule: Literal["constant", "plateau", "cosine"] = "plateau",
        monitor: str = "val_auroc",
        balance_classes: bool = False,
        allow_difference: list[str] | None = None,
        other_length: Literal["error", "rescale"] = "error",
        **classifier: Any,
    ) -> None:
        """Build model and settings.

        Args:
            learning_rate: Of the optimiser, at the start.
            optimizer: Adam, or Adam with decoupled weight decay.
            weight_decay: Of the optimiser; norms, biases and position embeddings have none.
            schedule: "constant"; "plateau" halves the rate once `monitor` has not risen for more than four validations,
                down to 1e-7; "cosine" falls to 0 over the whole fit.
            monitor: Validation metric that "plateau" follows, one of `MONITORS`.
            balance_classes: Whether the loss weighs both classes alike however many samples they have.
            allow_difference: Settings of the features that may differ between training and use of the weights.
            other_length: What a "cosine" does that resumes a fit of another length: `error` refuses it; `rescale` moves
                the rate to where the new length has it, upwards in a longer fit.
            classifier: Settings of `LareClassifier`.

        Raises:
            ValueError: If a setting makes no sense.
        """
        super().__init__()
        self.save_hyperparameters(ignore=["allow_difference", "other_length"])
        self.hparams.update(base_names(self.hparams, ("pretrained",)))  # checkpoints are handed on
        check_choice("monitor", monitor, MONITORS)
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.monitor = monitor
        self.balance_classes = balance_classes
        check_choice("other_length", other_length, ("error", "rescale"))
        self.other_length = other_length
        self.allow_difference = frozenset(allow_difference or ())
        self.model = LareClassifier(**classifier)
        self.collected = LogitsAndLabels()
        self._losses = FiniteLosses()
        self.register_buffer("class_weights", None, persistent=False)  # goes to the device with the weights, once
        self.calibration = Calibration()
        self.allowed_differences: list[str] = []
        self._limit_val_batches: int | float | None = None

    @property
    def threshold(self) -> float:
        """Score above which an image is called generated."""
        return self.calibration.threshold

    def setup(self, stage: str) -> None:
        """Read the class counts where the loss needs them.

        Raises:
            ValueError: If the data leave out what the detector reads.
        """
        self._check_inputs()
        if stage == "fit" and self.balance_classes:
            counts = torch.tensor(self.trainer.datamodule.class_counts)  # type: ignore[attr-defined]
            self.class_weights = counts.sum() / (2 * counts)

    def _check_inputs(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.model.needs_lare and getattr(data, "maps", True) is False:
            raise ValueError(
                "data.maps is false, but the detector reads maps. One of the image alone: --config lare2_image_only, "
                "or --model.spatial=false --model.channel=false too"
            )
        if self.model.needs_image and getattr(data, "images", True) is False:
            raise ValueError(
                "data.images is false, but the detector reads images. One of the map alone: --config lare2_map_only, "
                "or --model.image=false too"
            )

    def forward(self, batch: Batch) -> Tensor:
        """Logits (batch, 2) of a batch."""
        logits: Tensor = self.model(batch.get("image"), batch.get("lare"))
        return logits

    def on_fit_start(self) -> None:
        """Resume by epochs."""
        resuming.count_epochs(self.trainer)

    def on_train_start(self) -> None:
        """Put a frozen backbone into evaluation mode: Lightning takes modules in the mode that they are in."""
        self.model.train()
        if self.schedule == "cosine":
            cosine, num_steps = self.lr_schedulers(), int(self.trainer.estimated_stepping_batches)
            assert isinstance(cosine, torch.optim.lr_scheduler.CosineAnnealingLR)
            resuming.check_length(cosine, num_steps, rescale=self.other_length == "rescale")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch.

        Raises:
            ValueError: If it is not finite, or that of one of the steps before.
        """
        loss = self._shared_step(batch, "train")[1]
        self._losses.add(loss, self.global_step)
        return loss

    def on_train_epoch_end(self) -> None:
        """Refuse an epoch with a loss that is not finite."""
        self._losses.check()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Leave out a validation that only a stop within an epoch asks for."""
        if resuming.leave_out_validation(self.trainer):
            self._limit_val_batches, self.trainer.limit_val_batches = self.trainer.limit_val_batches, 0

    def on_validation_epoch_start(self) -> None:
        """Tell of a loss that is not finite before scores are."""
        self._losses.check()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect a batch."""
        self.collected.update(self._shared_step(batch, "val")[0], batch["label"])

    def on_validation_epoch_end(self) -> None:
        """Log the metrics, and fit the calibration while fitting."""
        if self.trainer.sanity_checking:
            self.collected.reset()
            return
        scores, labels, values = self._log_metrics("val")
        if self.trainer.state.fn == TrainerFn.FITTING:
            self.calibration = fit_calibration(scores, labels)
            if self.schedule == "plateau":
                plateau = self.lr_schedulers()
                assert isinstance(plateau, torch.optim.lr_scheduler.ReduceLROnPlateau)
                plateau.step(values[self.monitor])

    def on_train_end(self) -> None:
        """Warn of what a fit leaves out that nothing was validated in."""
        if self._limit_val_batches is not None:
            self.trainer.limit_val_batches, self._limit_val_batches = self._limit_val_batches, None
        if not self.trainer.is_global_zero:
            return
        if not self.calibration.is_fitted:
            logger.warning(
                "Nothing was validated: no threshold, no temperature and no unsure band is chosen. Pack with a larger "
                "--validation_fraction, or train for a whole epoch."
            )
        for callback in self.trainer.checkpoint_callbacks:
            monitor, name = getattr(callback, "monitor", None), getattr(callback, "filename", None) or "its checkpoint"
            if monitor and not getattr(callback, "best_model_path", ""):
                logger.warning("%s.ckpt is not written: the fit has no %s to choose it by.", name, monitor)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the samples that have a label."""
        known = batch["label"] >= 0
        if known.any():
            labelled = {name: values[known] for name, values in batch.items()}
            self.collected.update(self._shared_step(labelled, "test")[0], labelled["label"])

    def on_test_epoch_end(self) -> None:
        """Log the metrics over all sources together; `evaluate` has them one by one."""
        scores, labels, _ = self._log_metrics("test")
        if self.calibration.is_fitted:
            balanced = metrics.balanced_accuracy(scores, labels, self.threshold)
            self.log("test_balanced_accuracy_at_val_threshold", balanced)
            self.log("test_accuracy_at_val_threshold", metrics.accuracy(scores, labels, self.threshold))

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        """Index rows (batch,) and logits (batch, 2) of a batch, on the CPU."""
        return {"row": batch["row"].cpu(), "logits": self(batch).float().cpu()}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule by the settings."""
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        groups = parameter_groups(self, self.weight_decay)
        optimizer = kind(groups, lr=self.learning_rate, weight_decay=self.weight_decay)
        if self.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=4, min_lr=1e-7)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": self.monitor}}
        if self.schedule == "cosine":
            num_steps = int(self.trainer.estimated_stepping_batches)
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=num_steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
        return optimizer

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: Any) -> None:
        """Step a schedule, but for "plateau", which is stepped at the end of validation.

        Lightning steps it after the checkpoints of that moment are written: a resumed fit would lack the step.
        """
        if self.schedule != "plateau":
            super().lr_scheduler_step(scheduler, metric)

    def get_extra_state(self) -> Tensor:
        """The calibration, as part of the state dict; no buffer, which a device or a precision could round."""
        return self.calibration.to_tensor()

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the calibration of a state dict."""
        self.calibration = Calibration.from_tensor(state)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store with the weights what they were trained on."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._losses.check()  # or weights that are not finite would take the place of the last good ones
            trained_on = describe_training(self.trainer.datamodule)  # type: ignore[attr-defined]
            checkpoint[TRAINED_ON] = trained_on | {"precision": str(self.trainer.precision)}
            for log in self.trainer.loggers:  # or a fit that is killed now would have no metrics of these steps
                log.save()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on within an epoch that was stopped, and refuse features of other settings than in training.

        Raises:
            FingerprintMismatch: If they differ in a field that `allow_difference` does not name.
            ValueError: If the stopped fit decayed other parameters.
        """
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_groups(checkpoint, self, self.weight_decay)
            resuming.reopen_epoch(checkpoint)
            resuming.forget_files_elsewhere(checkpoint, Path(self.trainer.default_root_dir))
        elif self._trainer is not None:
            checkpoint["callbacks"] = {}  # of a fit: they have no part in scoring
        if self._trainer is not None and TRAINED_ON in checkpoint:
            here = describe_features(self.trainer.datamodule)  # type: ignore[attr-defined]
            self.allowed_differences = check_same_features(checkpoint[TRAINED_ON], here, self.allow_difference)

    def _shared_step(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        """Logits and logged loss of a labelled batch."""
        logits = self(batch)
        loss = F.cross_entropy(logits, batch["label"], weight=self.class_weights)
        self.log(f"{stage}_loss", loss, prog_bar=stage == "train", batch_size=len(logits), sync_dist=stage != "train")
        return logits, loss

    def _log_metrics(self, stage: str) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Log what the collected logits are worth; gives scores, labels and metrics, and starts collecting anew."""
        scores, labels = self.collected.compute()
        self.collected.reset()
        if not torch.isfinite(scores).all():
            raise ValueError(f"{int((~torch.isfinite(scores)).sum())} of {len(scores)} {stage} scores are not finite")
        values = {
            f"{stage}_accuracy": metrics.accuracy(scores, labels),
            f"{stage}_balanced_accuracy": metrics.balanced_accuracy(scores, labels),
            f"{stage}_average_precision": metrics.average_precision(scores, labels),
            f"{stage}_auroc": metrics.auroc(scores, labels),
            f"{stage}_calibration_error": metrics.calibration_error(scores, labels),
        }
        self.log_dict(values, prog_bar=stage == "val")
        if stage == "val" and self.trainer.is_global_zero and self.trainer.progress_bar_callback is None:
            figures = ", ".join(f"{name.removeprefix('val_')} {value:.3f}" for name, value in values.items())
            logger.info("epoch %d, step %d: validation %s", self.current_epoch, self.global_step, figures)
        return scores, labels, values
