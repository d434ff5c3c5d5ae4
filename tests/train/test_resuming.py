"""A fit that is stopped by any limit, within an epoch or at its end, and resumed equals one that was never stopped."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from tests.train.commands.test_resume import _differences
from tests.train.packed import CROP_PX, extract, module, pack
from train.data.random_state import RandomState
from train.task import LareTask

STEPS_AN_EPOCH, EPOCHS = 4, 3
FILTERS = (
    "ignore:.*isinstance.treespec, LeafSpec.* is deprecated",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:.*exists and is not empty",
    "ignore:.*could not find the monitored key",
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
)
pytestmark = [pytest.mark.filterwarnings(text) for text in FILTERS]
Stop = dict[str, Any]


class StopAt(Callback):
    """Asks for the end of the fit after a step, as the callback of `max_time` does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.global_step == self.step:
            trainer.should_stop = True


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    dataset = pack(tmp_path / "data", train=16, validation=6, test=2, controls=0)
    return SimpleNamespace(dataset=dataset, cache=extract(dataset, tmp_path / "cache"))


def _fit(made: SimpleNamespace, folder: Path, ckpt: Path | None = None, **settings: Any) -> int:
    """Fit, and give the number of steps so far."""
    seed_everything(3, verbose=False)
    task = LareTask(
        backbone="resnet_tiny_clip",
        image_size=CROP_PX,
        map_channels=3,
        image=False,
        schedule=settings.pop("schedule", "plateau"),
        other_length=settings.pop("other_length", "error"),
        learning_rate=1e-2,
    )
    last = {"dirpath": folder, "filename": "last", "enable_version_counter": False}
    callbacks: list[Callback] = [
        ModelCheckpoint(**last | {"filename": "best"}, monitor="val_auroc", mode="max"),
        ModelCheckpoint(**last, save_on_train_epoch_end=True),
        RandomState(),
    ]
    if "stop" in settings:
        callbacks.append(StopAt(settings.pop("stop")))
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    quiet["default_root_dir"] = folder  # as the command has it: files below it are the fit's own
    trainer = Trainer(**quiet, callbacks=callbacks, log_every_n_steps=1, **{"max_epochs": EPOCHS, **settings})
    trainer.fit(task, datamodule=module(made.dataset, made.cache, batch_size=4), ckpt_path=ckpt, weights_only=True)
    return trainer.global_step


def _compare(whole: Path, pieces: Path) -> list[str]:
    found = []
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (torch.load(folder / name, weights_only=True) for folder in (whole, pieces))
        for part in ("global_step", "epoch", "state_dict", "optimizer_states", "lr_schedulers"):
            found += _differences(one[part], other[part], f"{name}/{part}")
        found += _differences(one["callbacks"]["RandomState"], other["callbacks"]["RandomState"], f"{name}/RandomState")
    return found


STOPS: dict[str, Sequence[Stop]] = {
    "steps within an epoch": [{"max_steps": 6}],
    "steps within the first epoch": [{"max_steps": 3}],
    "steps at an epoch's end": [{"max_steps": 8}],
    "steps within two epochs": [{"max_steps": 6}, {"max_steps": 9}],
    "steps to an epoch's end, then within one": [{"max_steps": 8}, {"max_steps": 10}],
    "time within an epoch": [{"stop": 6}],
    "time within the first epoch, then within the second": [{"stop": 1}, {"stop": 7}],
    "time at an epoch's end": [{"stop": 8}],
    "epochs": [{"max_epochs": 2}],
}


@pytest.mark.parametrize("stops", STOPS.values(), ids=STOPS)
def test_a_fit_that_a_limit_stopped_goes_on_to_the_same_weights(
    made: SimpleNamespace, stops: Sequence[Stop], tmp_path: Path
) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert _fit(made, whole) == EPOCHS * STEPS_AN_EPOCH
    ckpt = None
    for stop in stops:
        assert _fit(made, pieces, ckpt, **stop) == stop.get("max_steps", stop.get("stop", 8))
        ckpt = pieces / "last.ckpt"
    assert _fit(made, pieces, ckpt) == EPOCHS * STEPS_AN_EPOCH
    assert _compare(whole, pieces) == []


@pytest.mark.parametrize("stop", [{"max_steps": 6}, {"stop": 6}, {"stop": 5}, {"max_steps": 5}])
def test_validations_within_an_epoch_are_neither_lost_nor_added(
    made: SimpleNamespace, stop: Stop, tmp_path: Path
) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    _fit(made, whole, val_check_interval=0.5)
    _fit(made, pieces, val_check_interval=0.5, **stop)
    _fit(made, pieces, pieces / "last.ckpt", val_check_interval=0.5)
    assert _compare(whole, pieces) == []


def test_resuming_with_a_number_of_steps_goes_on_after_a_whole_epoch(made: SimpleNamespace, tmp_path: Path) -> None:
    assert _fit(made, tmp_path, max_epochs=2) == 8
    assert _fit(made, tmp_path, tmp_path / "last.ckpt", max_steps=11) == 11
    assert _fit(made, tmp_path, tmp_path / "last.ckpt", max_steps=11) == 11  # it is there


def test_a_cosine_of_another_length_is_told_and_ends_at_zero(
    made: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _fit(made, tmp_path, schedule="cosine", max_steps=6)
    assert not [record for record in caplog.records if "learning rate" in record.getMessage()]
    resumed = {"ckpt": tmp_path / "last.ckpt", "schedule": "cosine"}
    with pytest.raises(ValueError, match=r"falls to 0 over 6 steps, this fit has 12: it would go from 0 to 0\.005\. "):
        _fit(made, tmp_path, **resumed)
    assert "learning rate" not in caplog.text
    _fit(made, tmp_path, **resumed, other_length="rescale")
    assert "falls to 0 over 6 steps, this fit has 12: it goes from 0 to 0.005." in caplog.text
    (rates,) = torch.load(tmp_path / "last.ckpt", weights_only=True)["optimizer_states"]
    assert rates["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-12)


def test_a_cosine_that_is_stopped_by_time_is_not_told_of(
    made: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    _fit(made, whole, schedule="cosine")
    _fit(made, pieces, schedule="cosine", stop=6)
    _fit(made, pieces, pieces / "last.ckpt", schedule="cosine")
    assert _compare(whole, pieces) == []
    assert "learning rate" not in caplog.text
