"""The log of a fit: a progress bar where a person sees it, and metrics that go on after a stop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from tests.train.packed import CANVAS_PX, extract, pack
from train.commands.lightning import tell_batch_size
from train.commands.run_log import choose_progress_bar, go_on_with_metrics
from workflow.code_hash import ROOT


@pytest.mark.parametrize(
    ("asked", "at_terminal", "has_bar"),
    [(None, True, True), (None, False, False), (False, True, False), (True, False, True)],
)
def test_a_progress_bar_is_shown_where_it_is_asked_for_or_seen(
    asked: bool | None, at_terminal: bool, has_bar: bool
) -> None:
    settings = {"enable_progress_bar": asked, "callbacks": [TQDMProgressBar(), ModelCheckpoint()], "logger": False}
    changes = choose_progress_bar(settings, at_terminal=at_terminal)
    trainer = Trainer(accelerator="cpu", **settings | changes)
    assert (trainer.progress_bar_callback is not None) == has_bar
    assert len(trainer.checkpoint_callbacks) == 1
    assert choose_progress_bar({"callbacks": None}, at_terminal=False)["callbacks"] == []


@pytest.mark.filterwarnings("ignore:Experiment logs directory .* exists and is not empty")
@pytest.mark.parametrize("name", ["metrics.csv", "metrics-before.csv"])
def test_metrics_go_on_without_the_rows_that_are_repeated(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("epoch,step,train_loss\r\n0,0,3.5\r\n0,1,2.5\r\n1,2,9.0\r\n")
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=CSVLogger(tmp_path, name="", version=""))
    go_on_with_metrics(trainer, 2)
    trainer.logger.log_metrics({"epoch": 1, "val_auroc": 0.5}, step=2)
    trainer.logger.save()
    lines = (tmp_path / "metrics.csv").read_text().split()
    assert lines == ["epoch,step,train_loss,val_auroc", "0,0,3.5,", "0,1,2.5,", "1,2,,0.5"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_several_devices_tell_how_many_images_a_step_takes(caplog: pytest.LogCaptureFixture) -> None:
    tell_batch_size(1, 48, 1e-4)
    assert caplog.text == ""
    tell_batch_size(8, 48, 1e-4)
    assert "8 devices take 384 images a step, 48 each, at the learning rate 0.0001" in caplog.text
    assert "--data.batch_size=6" in caplog.text


@pytest.mark.slow
def test_lightnings_messages_appear_once_and_without_its_advice(tmp_path: Path) -> None:
    dataset = pack(tmp_path / "data", train=8, validation=4)
    cache = extract(dataset, tmp_path / "cache")
    settings = {
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "precision": "bf16-mixed", "log_every_n_steps": 1},
        "model": {"backbone": "resnet_tiny_clip"},
        "data": {"batch_size": 4, "num_workers": 0, "crop_px": CANVAS_PX},
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(settings))
    places = [f"--data.data={dataset.folder}", f"--data.cache={cache.folder}", f"--out={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-m", "train", "fit", f"--config={recipe}", *places],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    assert told.count("`Trainer.fit` stopped: `max_epochs=1` reached.") == told.count("Seed set to 0") == 1
    assert not [word for word in ("Tip", "LeafSpec", "TPU", "model summary") if word in told]
