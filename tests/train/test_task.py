"""The task: one fit on a tiny datamodule in memory, its threshold, its checkpoint, its predictions."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn import BatchNorm2d, LayerNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from cache_schema import INDEX_SCHEMA, FingerprintMismatch
from train.commands.prediction_writer import PredictionWriter
from train.losses import CHECK_EVERY
from train.record import describe_code
from train.scoring import metrics
from train.scoring.calibration import Calibration, fit_calibration
from train.scoring.prediction_file import (
    ALLOWED_DIFFERENCES,
    CALIBRATION,
    COLUMNS,
    THRESHOLD,
    generated_score,
    prediction_table,
)
from train.task import LareTask

TINY = {"backbone": "resnet_tiny_clip", "image_size": 16, "map_channels": 2}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
]


class TinyDataModule(LightningDataModule):
    """24 random samples with bigger maps where generated; the last two are controls, which only prediction sees."""

    def __init__(self, timestep: int = 200) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.labels = torch.tensor([0, 1] * 11 + [-1, -1])
        self.images = torch.randint(0, 256, (24, 3, 16, 16), dtype=torch.uint8, generator=rng)
        self.maps = torch.rand(24, 2, 8, 8, generator=rng) + self.labels.clamp(0)[:, None, None, None]
        names = [f"key{i}" for i in range(24)]
        label = pa.array([None if y < 0 else y for y in self.labels.tolist()], pa.int8())
        schema = pa.schema([INDEX_SCHEMA.field(name) for name in COLUMNS])
        index = pa.table([label if name == "label" else pa.array(names) for name in COLUMNS], schema)
        tars = [SimpleNamespace(num_rows=24)]
        dataset = SimpleNamespace(dataset_id="tiny", tars=tars, rows_of=lambda tars, columns: index.select(columns))
        cache = SimpleNamespace(fingerprint="f" * 64, fields={"timestep": timestep, "image_size": 16})
        self.join = SimpleNamespace(dataset=dataset, caches=[cache])
        self.class_counts = (3, 9)
        self.view, self.alignment, self.crop_px = "canvas", None, 16

    def _loader(self, rows: range) -> DataLoader:
        batches = [torch.tensor(rows[i : i + 4]) for i in range(0, len(rows), 4)]
        items = [{"image": self.images[r], "lare": self.maps[r], "label": self.labels[r], "row": r} for r in batches]
        return DataLoader(items, batch_size=None)

    def train_dataloader(self) -> DataLoader:
        return self._loader(range(12))

    def val_dataloader(self) -> DataLoader:
        return self._loader(range(12, 22))

    def test_dataloader(self) -> DataLoader:
        return self._loader(range(14, 24))

    predict_dataloader = test_dataloader


def _trainer(folder: Path, **settings) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(default_root_dir=folder, **quiet, **settings)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A task fitted for two epochs, and what the fit left."""
    folder = tmp_path_factory.mktemp("fit")
    checkpoints = ModelCheckpoint(dirpath=folder, filename="best", monitor="val_auroc", mode="max")
    torch.manual_seed(0)
    task = LareTask(**TINY, image=False, learning_rate=1e-2, schedule="plateau")
    trainer = _trainer(folder, max_epochs=2, callbacks=[checkpoints], num_sanity_val_steps=1, log_every_n_steps=1)
    with warnings.catch_warnings():  # marks do not reach fixtures of a module
        warnings.filterwarnings("ignore", ".*(LeafSpec|many workers|is not empty)")
        trainer.fit(task, datamodule=TinyDataModule())
    return SimpleNamespace(trainer=trainer, task=task, checkpoint=checkpoints.best_model_path)


def test_fit_logs_validation_metrics(fitted: SimpleNamespace) -> None:
    names = ("loss", "accuracy", "balanced_accuracy", "average_precision", "auroc", "calibration_error")
    assert {f"val_{name}" for name in names} <= fitted.trainer.callback_metrics.keys()
    assert not any(name.startswith("test_") for name in fitted.trainer.callback_metrics)


def test_checkpoint_holds_the_validation_threshold_of_its_own_weights(fitted: SimpleNamespace) -> None:
    task = LareTask.load_from_checkpoint(fitted.checkpoint, weights_only=True).eval()
    data = TinyDataModule()
    with torch.no_grad():
        scores = generated_score(task.model(lare=data.maps[12:22]))
    expected = metrics.threshold_from_validation(scores, data.labels[12:22])
    assert task.threshold == pytest.approx(expected, abs=1e-6)
    assert task.threshold != 0.5
    expected = fit_calibration(scores, data.labels[12:22])
    assert task.calibration.temperature == pytest.approx(expected.temperature, rel=1e-4)
    stored = torch.load(fitted.checkpoint, weights_only=True)["state_dict"]["_extra_state"]
    assert Calibration.from_tensor(stored) == task.calibration


def test_a_checkpoint_from_before_the_temperature_is_loaded(fitted: SimpleNamespace, tmp_path: Path) -> None:
    checkpoint = torch.load(fitted.checkpoint, weights_only=True)
    checkpoint["state_dict"]["_extra_state"] = torch.tensor(0.375, dtype=torch.float64)
    torch.save(checkpoint, tmp_path / "old.ckpt")
    task = LareTask.load_from_checkpoint(tmp_path / "old.ckpt", weights_only=True)
    assert task.calibration == Calibration(threshold=0.375)


def test_checkpoint_says_what_it_was_trained_on(fitted: SimpleNamespace) -> None:
    checkpoint = torch.load(fitted.checkpoint, weights_only=True)
    assert checkpoint["trained_on"] == {
        "dataset_id": "tiny",
        "caches": [{"fingerprint": "f" * 64, "fields": {"timestep": 200, "image_size": 16}}],
        "view": {"view": "canvas", "alignment": None, "crop_px": 16},
        "image_sources": None,
        "divided_groups": None,
        "code": describe_code(),
        "precision": "32-true",
    }
    assert checkpoint["hyper_parameters"]["map_channels"] == 2


def test_predictions_are_written_for_every_sample(fitted: SimpleNamespace, tmp_path: Path) -> None:
    task = LareTask.load_from_checkpoint(fitted.checkpoint, weights_only=True)
    trainer = _trainer(tmp_path, callbacks=[PredictionWriter()])
    trainer.predict(task, datamodule=TinyDataModule())
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.column_names == ["row", *COLUMNS, "logit_real", "logit_generated", "score", "probability"]
    assert table["row"].to_pylist() == list(range(14, 24))
    assert table["key"].to_pylist() == [f"key{i}" for i in range(14, 24)]
    assert table["label"].to_pylist()[-3:] == [1, None, None]
    assert float(table.schema.metadata[THRESHOLD]) == task.threshold
    logits = torch.tensor([table["logit_real"].to_pylist(), table["logit_generated"].to_pylist()])
    torch.testing.assert_close(torch.tensor(table["score"].to_pylist()), logits.softmax(0)[1])
    with pytest.raises(FileExistsError, match=r"predictions\.parquet is there already: pass --predictions\.overwrite"):
        _trainer(tmp_path, callbacks=[PredictionWriter()]).predict(task, datamodule=TinyDataModule())


def test_test_metrics_leave_out_controls_and_use_the_stored_threshold(fitted: SimpleNamespace, tmp_path: Path) -> None:
    task = LareTask.load_from_checkpoint(fitted.checkpoint, weights_only=True)
    data = TinyDataModule()
    before = task.threshold
    (result,) = _trainer(tmp_path).test(task, datamodule=data, verbose=False)
    with torch.no_grad():
        scores = generated_score(task.eval().model(lare=data.maps[14:22]))
    assert result["test_auroc"] == pytest.approx(metrics.auroc(scores, data.labels[14:22]))
    assert result["test_accuracy_at_val_threshold"] == pytest.approx(
        metrics.accuracy(scores, data.labels[14:22], before)
    )
    _trainer(tmp_path).validate(task, datamodule=data, verbose=False)
    assert task.threshold == before


def test_other_features_are_refused_unless_allowed(fitted: SimpleNamespace, tmp_path: Path) -> None:
    other = TinyDataModule(timestep=261)
    with pytest.raises(FingerprintMismatch, match=r"timestep: 200 ≠ 261.*--model\.allow_difference=\[\"timestep\"\]"):
        _trainer(tmp_path).test(LareTask(**TINY, image=False), datamodule=other, ckpt_path=fitted.checkpoint)
    allowed = LareTask(**TINY, image=False, allow_difference=["timestep"])
    _trainer(tmp_path).test(allowed, datamodule=other, ckpt_path=fitted.checkpoint, verbose=False)
    writing = _trainer(tmp_path, callbacks=[PredictionWriter()])
    writing.predict(allowed, datamodule=other, ckpt_path=fitted.checkpoint)
    metadata = pq.read_table(tmp_path / "predictions.parquet").schema.metadata
    assert json.loads(metadata[ALLOWED_DIFFERENCES]) == ["timestep: 200 ≠ 261"]
    assert Calibration.from_dict(json.loads(metadata[CALIBRATION])) == allowed.calibration
    other.join.caches *= 2
    with pytest.raises(FingerprintMismatch, match="were trained on 1 caches, here are 2"):
        _trainer(tmp_path).test(allowed, datamodule=other, ckpt_path=fitted.checkpoint)


def test_balanced_loss_weighs_both_classes_alike() -> None:
    task = LareTask(**TINY, image=False, balance_classes=True)
    task._trainer = SimpleNamespace(datamodule=TinyDataModule())
    task.setup("fit")
    torch.testing.assert_close(task.class_weights, torch.tensor([2.0, 12 / 18]))
    assert "class_weights" in dict(task.named_buffers()) and "class_weights" not in task.state_dict()
    assert LareTask(**TINY, image=False).class_weights is None


@pytest.mark.parametrize(
    ("settings", "optimizer", "schedule"),
    [
        ({"schedule": "constant"}, torch.optim.Adam, None),
        ({"schedule": "plateau", "optimizer": "adamw"}, torch.optim.AdamW, torch.optim.lr_scheduler.ReduceLROnPlateau),
        ({"schedule": "cosine"}, torch.optim.Adam, torch.optim.lr_scheduler.CosineAnnealingLR),
    ],
)
def test_optimiser_and_schedule_follow_the_settings(settings: dict, optimizer: type, schedule: type | None) -> None:
    task = LareTask(**TINY, freeze_backbone=True, weight_decay=0.1, **settings)
    task._trainer = SimpleNamespace(estimated_stepping_batches=10)
    made = task.configure_optimizers()
    used = made["optimizer"] if isinstance(made, dict) else made
    assert type(used) is optimizer
    assert used.defaults["lr"] == 1e-4
    assert used.defaults["weight_decay"] == 0.1
    frozen = {id(p) for p in task.model.backbone.parameters()}
    assert frozen.isdisjoint(id(p) for group in used.param_groups for p in group["params"])
    if schedule:
        assert type(made["lr_scheduler"]["scheduler"]) is schedule


def test_weight_decay_leaves_norms_biases_and_position_embeddings_alone() -> None:
    task = LareTask(**TINY, optimizer="adamw", weight_decay=0.1, learning_rate=0.01, schedule="constant")
    before = {name: p.detach().clone() for name, p in task.named_parameters()}
    optimizer = task.configure_optimizers()
    for parameter in task.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # without a gradient only the decay moves weights
    decayed = {name for name, p in task.named_parameters() if not torch.equal(p, before[name])}
    for name, old in before.items():
        is_free = old.ndim <= 1 or name.endswith((".pos_embed", ".position"))
        assert (name in decayed) is not (is_free or not old.any()), name
    assert {"model.spatial.query.weight", "model.head.weight"} <= decayed
    norms = [name for name, module in task.named_modules() if isinstance(module, BatchNorm2d | LayerNorm)]
    assert norms and decayed.isdisjoint(f"{name}.weight" for name in norms)


def test_without_weight_decay_the_optimiser_has_one_group_as_before() -> None:
    (group,) = LareTask(**TINY, schedule="constant").configure_optimizers().param_groups
    assert group["weight_decay"] == 0


def test_a_fit_that_decayed_all_parameters_is_not_resumed(tmp_path: Path) -> None:
    recipe = {**TINY, "optimizer": "adamw", "weight_decay": 0.1, "schedule": "constant"}
    trainer = _trainer(tmp_path, max_epochs=1)
    trainer.fit(LareTask(**recipe), TinyDataModule())
    trainer.save_checkpoint(tmp_path / "new.ckpt")
    _trainer(tmp_path, max_epochs=2).fit(LareTask(**recipe), TinyDataModule(), ckpt_path=tmp_path / "new.ckpt")
    checkpoint = torch.load(tmp_path / "new.ckpt", weights_only=True)
    free, decayed = checkpoint["optimizer_states"][0]["param_groups"]
    merged = decayed | {"params": free["params"] + decayed["params"]}
    checkpoint["optimizer_states"][0]["param_groups"] = [merged]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(ValueError, match=r"optimiser has groups of \[\d+\] parameters.*Start a new fit"):
        _trainer(tmp_path, max_epochs=2).fit(LareTask(**recipe), TinyDataModule(), ckpt_path=tmp_path / "old.ckpt")


def test_a_loss_that_is_not_finite_stops_the_fit(tmp_path: Path) -> None:
    data = TinyDataModule()
    data.maps[5, 0, 0, 0] = float("nan")
    trainer = _trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0, enable_checkpointing=False, log_every_n_steps=1)
    with pytest.raises(ValueError, match="the loss is not finite at step 1"):
        trainer.fit(LareTask(**TINY, image=False, schedule="constant"), datamodule=data)


class _HostReads(TorchDispatchMode):
    """Counts where a tensor's value is asked for, which waits for a GPU."""

    num = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.num += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **kwargs or {})


def test_a_training_step_asks_the_device_for_no_value() -> None:
    data = TinyDataModule()
    task = LareTask(**TINY, balance_classes=True)
    batch = next(iter(data._loader(range(4))))
    task._trainer = SimpleNamespace(global_step=0, datamodule=data)
    task.setup("fit")
    task.log = lambda *_, **__: None
    task.training_step(batch, 0)
    reads = {}
    for step in range(1, 2 * CHECK_EVERY + 1):
        task._trainer.global_step = step
        with _HostReads() as counted:
            task.training_step(batch, step)
        if counted.num:
            reads[step] = counted.num
    assert reads == {CHECK_EVERY: 1, 2 * CHECK_EVERY: 1}


def test_weights_after_a_loss_that_is_not_finite_replace_no_checkpoint(tmp_path: Path) -> None:
    data = TinyDataModule()
    data.maps[5, 0, 0, 0] = float("nan")
    last = ModelCheckpoint(dirpath=tmp_path, filename="last", every_n_train_steps=1, enable_version_counter=False)
    trainer = _trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0, callbacks=[last], log_every_n_steps=1)
    with pytest.raises(ValueError, match="the loss is not finite at step 1"):
        trainer.fit(LareTask(**TINY, image=False, schedule="constant"), datamodule=data)
    weights = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert weights["global_step"] == 1
    assert all(value.isfinite().all() for name, value in weights["state_dict"].items() if "model." in name)


def test_a_frozen_backbone_is_the_same_after_a_fit(tmp_path: Path) -> None:
    task = LareTask(**TINY, freeze_backbone=True, schedule="constant", learning_rate=1e-2)
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    trainer = _trainer(tmp_path, max_epochs=1, num_sanity_val_steps=1, enable_checkpointing=False, log_every_n_steps=1)
    trainer.fit(task, datamodule=TinyDataModule())
    moved = {name for name, value in task.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith("backbone.") for name in moved)


def test_prediction_table_sorts_drops_repeats_and_refuses_nan() -> None:
    index = TinyDataModule().join.dataset.rows_of([0], COLUMNS)
    rows, logits = torch.tensor([5, 2, 5]), torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    table = prediction_table(index, rows, logits, Calibration(0.25))
    assert table["row"].to_pylist() == [2, 5]
    assert table["logit_generated"].to_pylist() == [0.0, 1.0]
    logits[1, 0] = float("nan")
    with pytest.raises(ValueError, match="1 of 3 predictions are not finite, the first is of row 2"):
        prediction_table(index, rows, logits, Calibration(0.25))


def test_very_sure_scores_keep_their_order() -> None:
    scores = generated_score(torch.tensor([[0.0, 20.0], [0.0, 25.0]]))
    assert scores.dtype == torch.float64
    assert scores[0] < scores[1] < 1
