"""The matrix: what is added up, what is run, skipped and refused, and one real run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cache_schema import Dataset
from tests.train.commands.test_lightning import _create_cache
from train.__main__ import main
from train.commands import matrix
from train.commands.matrix import check_settings, make_run


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    settings = {"recipe": [{"data": {"flip": True}}], "fit_args": []}
    check_settings(tmp_path, settings)
    check_settings(tmp_path, settings)
    with pytest.raises(ValueError, match=r"holds runs with another recipe, see .*: choose another --out"):
        check_settings(tmp_path, settings | {"recipe": [{"data": {"flip": False}}]})


def test_a_run_is_skipped_resumed_or_started_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(matrix, "_train", lambda *arguments: called.append(arguments))
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match=r"the recipe wrote no .*best\.ckpt"):
        make_run(tmp_path, ["-c=x"])
    assert called.pop() == ("fit", "-c=x", f"--out={tmp_path}")
    assert not (tmp_path / "config.yaml").exists()
    (checkpoints / "last.ckpt").touch()
    (checkpoints / "best.ckpt").touch()
    make_run(tmp_path, ["-c=x"])
    assert called[0] == ("fit", "-c=x", f"--out={tmp_path}", f"--ckpt_path={checkpoints / 'last.ckpt'}")
    assert called[1][:2] == ("predict", f"-c={tmp_path / 'config.yaml'}")
    (tmp_path / "predictions.parquet").touch()
    make_run(tmp_path, ["-c=x"])
    assert len(called) == 2


@pytest.mark.slow
def test_a_matrix_from_data_to_picture(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = {"monitor": "val_auroc", "mode": "max", "filename": "best", "save_last": True}
    recipe = {
        "trainer": {
            "max_epochs": 1,
            "accelerator": "cpu",
            "logger": False,
            "callbacks": [
                {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": checkpoints},
            ],
        },
        "model": {"backbone": "resnet_tiny_clip", "image": False},
        "data": {"batch_size": 4, "num_workers": 0, "crop_px": 16},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    cache, out = _create_cache(tmp_path / "cache", dataset), tmp_path / "out"
    options = {"data": dataset.folder, "cache": cache, "out": out, "recipe": tmp_path / "recipe.yaml"}
    arguments = ["matrix", *(f"--{name}={value}" for name, value in options.items()), "--sources", "toy", "all"]
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    assert main() == 0
    result = json.loads((out / "matrix.json").read_text())
    assert (result["rows"], result["columns"], result["settings"]["seeds"]) == (["toy", "all"], ["toy"], 1)
    assert (out / "matrix.png").stat().st_size > 1000
    assert "trained on \\ tested on" in capsys.readouterr().out

    commands: list[list[str]] = []
    run = subprocess.run

    def counted(command: list[str], **options: object) -> object:
        commands.append(command)
        return run(command, **options)

    monkeypatch.setattr(matrix.subprocess, "run", counted)
    monkeypatch.setattr(sys, "argv", ["train", *arguments, "--seeds=2"])
    assert main() == 0
    trained = [command for command in commands if command[1:3] == ["-m", "train"]]
    assert [command[3] for command in trained] == ["fit", "predict"] * 2  # the second seed's alone
    assert json.loads((out / "matrix.json").read_text())["metrics"]["auroc"]["cells"][0][0]["sd"] is not None
    monkeypatch.setattr(sys, "argv", ["train", *arguments, "--fit_args=--trainer.max_epochs=2"])
    assert main() == 1
