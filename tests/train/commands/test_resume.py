"""A fit that is killed and resumed equals the uninterrupted one to the bit; random streams in checkpoints."""

import csv
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from cache_schema import Dataset
from tests.train.commands.conftest import Strange
from tests.train.commands.test_lightning import _create_cache
from train.data.random_state import RandomState

ROOT = Path(__file__).parents[3]
STEPS_AN_EPOCH, EPOCHS = 4, 3


def _draw() -> list[float]:
    return [torch.rand(1).item(), np.random.rand(), np.random.randn(), random.random(), random.gauss(0, 1)]


def test_random_streams_go_on_where_they_were_saved(tmp_path: Path) -> None:
    random.gauss(0, 1)  # leaves a second number for the next call
    np.random.randn()
    torch.save(RandomState().state_dict(), tmp_path / "state")
    expected = _draw()
    _draw()
    restored = RandomState()
    restored.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    _draw()
    restored.on_train_start(None, None)
    assert _draw() == expected
    restored.on_train_start(None, None)  # only once
    assert _draw() != expected


def test_states_of_checkpoints_that_hold_the_first_ranks_alone_are_restored() -> None:
    state = {**RandomState().state_dict()["ranks"][0], "cuda": []}
    expected = _draw()
    restored = RandomState()
    restored.load_state_dict(state)
    restored.on_train_start(None, None)
    assert _draw() == expected


def _fit(settings: Path, *arguments: object) -> int:
    command = [sys.executable, "-m", "tests.train.killer", "fit", "-c", settings, *arguments]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL, 143), done.stderr
    return done.returncode


def _differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Places where two nested values differ; tensors are compared to the bit."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        return [d for key in one for d in _differences(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple):
        assert len(one) == len(other), path
        return [d for i, (a, b) in enumerate(zip(one, other, strict=True)) for d in _differences(a, b, f"{path}/{i}")]
    return [] if one == other else [path]


def _metrics(path: Path) -> dict[tuple[str, bool], dict[str, str]]:
    """Rows of metrics.csv by step and by whether they are of validation."""
    return {(row["step"], bool(row["val_auroc"])): row for row in csv.DictReader(path.read_text().splitlines())}


@pytest.fixture
def settings(dataset: Dataset, tmp_path: Path) -> Path:
    """Dropout is on, weights are those of the full detector, and a checkpoint is written after every third step."""
    checkpoint = "lightning.pytorch.callbacks.ModelCheckpoint"
    last = {"filename": "last", "enable_version_counter": False}
    content = {
        "seed_everything": 3,
        "trainer": {
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "deterministic": True,
            "gradient_clip_val": 5.0,
            "log_every_n_steps": 1,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "logger": [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"name": "", "version": ""}}],
            "callbacks": [
                {"class_path": checkpoint, "init_args": {"monitor": "val_auroc", "mode": "max", "filename": "best"}},
                {"class_path": checkpoint, "init_args": {**last, "save_on_train_epoch_end": True}},
                {"class_path": checkpoint, "init_args": {**last, "every_n_train_steps": 3}},
            ],
        },
        "model": {"backbone": "resnet_tiny_clip", "optimizer": "adamw", "weight_decay": 0.01},
        "data": {
            "data": str(dataset.folder),
            "cache": str(_create_cache(tmp_path / "cache", dataset)),
            "batch_size": 4,
            "num_workers": 0,
            "crop_px": 16,
        },
    }
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "number", "killed_at", "resumed_at"),
    [
        ("cosine", signal.SIGKILL, 7, 6),  # in the middle of the second epoch
        ("plateau", signal.SIGKILL, 8, 8),  # between the second and the third
        ("cosine", signal.SIGTERM, 5, 6),  # in the middle of the second epoch
        ("plateau", signal.SIGTERM, 7, 8),  # in its last step
    ],
)
def test_a_killed_and_resumed_fit_equals_the_uninterrupted_one(
    settings: Path, tmp_path: Path, schedule: str, number: signal.Signals, killed_at: int, resumed_at: int
) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    recipe = f"--model.schedule={schedule}"
    assert _fit(settings, recipe, "--out", whole) == 0
    killer = ("--trainer.callbacks+=tests.train.killer.KillAt", f"--trainer.callbacks.step={killed_at}")
    killer += (f"--trainer.callbacks.number={int(number)}",)
    ended = 143 if number == signal.SIGTERM else -signal.SIGKILL
    assert _fit(settings, recipe, "--out", pieces, *killer) == ended
    last = pieces / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == resumed_at
    assert _fit(settings, recipe, "--out", pieces, "--ckpt_path", last) == 0

    expected = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    resumed = torch.load(last, weights_only=True)
    assert resumed["global_step"] == expected["global_step"] == EPOCHS * STEPS_AN_EPOCH
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert _differences(expected[part], resumed[part]) == []
    assert _differences(expected["callbacks"]["RandomState"], resumed["callbacks"]["RandomState"]) == []
    logged, resumed_log = (_metrics(folder / "metrics.csv") for folder in (whole, pieces))
    assert len(resumed_log) == EPOCHS * STEPS_AN_EPOCH + EPOCHS
    assert resumed_log == logged
    assert len((pieces / "metrics.csv").read_text().splitlines()) == len(logged) + 1  # each step once


@pytest.mark.filterwarnings("ignore:.*dirpath has changed from")
def test_a_checkpoint_that_is_cut_short_is_passed_over_for_another_of_its_run(
    strange: Strange, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate(strange.last, strange.last.stat().st_size // 2)
    assert strange.run(*strange.command("fit")) == 0
    assert "It was cut short or damaged. It is passed over: the fit goes on from" in caplog.text
    assert torch.load(strange.last, weights_only=True)["global_step"] == 2 * STEPS_AN_EPOCH
    for path in (strange.last, strange.best):
        os.truncate(path, path.stat().st_size // 2)
    assert strange.run(*strange.command("fit")) == 1
    assert "last.ckpt cannot be read as a checkpoint" in capsys.readouterr().err
