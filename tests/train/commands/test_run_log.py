"""The log of a fit: a progress bar where a person sees it, and metrics that go on after a stop."""

from pathlib import Path

import pytest
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from train.commands.run_log import choose_progress_bar, go_on_with_metrics


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
