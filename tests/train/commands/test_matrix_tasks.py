"""A matrix that several tasks fill at once: each run is one's, and the table has all that are done."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from cache_schema import Dataset, write_dataset
from tests.samples import make_sample
from train.__main__ import main
from train.commands import matrix
from train.commands.matrix import PREDICTIONS, check_settings, find_finished, make_run, run_folder, write_table
from train.runs import Run
from train.scoring.calibration import Calibration
from train.scoring.prediction_file import COLUMNS, prediction_table

PLACES = [
    (split, label, name if label else "real", name)
    for split in ("train", "validation", "test")
    for name in ("a", "b")
    for label in (0, 1)
]


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Two of each class of two sources in each split."""
    samples = [
        make_sample(n, split=split, label=label, image_source=source, subset=subset, source_path=f"{source}/{n}.png")
        for n, (split, label, source, subset) in enumerate(PLACES * 2)
    ]
    return write_dataset(tmp_path / "data", samples, {})


def finish(folder: Path, dataset: Dataset, row: str, seed: int, right: int = 4) -> None:
    """Leave what a run leaves: predictions of the test images, of which so many are right."""
    index = dataset.table([*COLUMNS])
    labels = index["label"].to_numpy()
    rows = [i for i, split in enumerate(index["split"].to_pylist()) if split == "test"]
    called = [labels[i] if n < right else 1 - labels[i] for n, i in enumerate(rows)]
    logits = torch.tensor([[0.0, 1.0] if each else [1.0, 0.0] for each in called])
    place = run_folder(folder, row, seed)
    place.mkdir(parents=True)
    pq.write_table(prediction_table(index, torch.tensor(rows), logits, Calibration(0.5)), place / PREDICTIONS)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "matrix.json").read_text())
    return found


def test_the_table_has_all_runs_that_are_done_whatever_was_asked_for(tmp_path: Path, data: Dataset) -> None:
    index = data.table([*COLUMNS])
    for row, seed in (("b", 0), ("b", 2), ("a", 0), ("all", 0)):
        finish(tmp_path, data, row, seed)
    run_folder(tmp_path, "a", 1).mkdir()  # has begun
    (tmp_path / "runs" / "a" / "seed-x").mkdir()
    text = write_table(tmp_path, index, {})
    found = read(tmp_path)
    assert found["rows"] == ["a", "b", "all"] and found["columns"] == ["a", "b"]
    assert found["seeds"] == {"a": [0], "b": [0, 2], "all": [0]} and found["settings"]["seeds"] == 2
    cells = found["metrics"]["auroc"]["cells"]
    assert cells[0][0]["sd"] is None and cells[1][0]["sd"] == 0.0
    assert found["metrics"]["auroc"]["diagonal"]["sd"] is None  # of the one seed that all rows have
    assert "seeds so far: a 1, b 2, all 1" in text and (tmp_path / "matrix.png").stat().st_size > 1000


def test_a_row_that_another_task_adds_meanwhile_is_not_lost(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, write, others = data.table([*COLUMNS]), matrix.write_json, ["b", "all"]
    finish(tmp_path, data, "a", 0)

    def write_late(path: Path, content: Mapping[str, Any]) -> None:
        """Another task ends a run and writes its table after this one has looked, and before it writes."""
        if others:
            finish(tmp_path, data, others.pop(0), 0)
            write_table(tmp_path, index, {})
        write(path, content)

    monkeypatch.setattr(matrix, "write_json", write_late)
    write_table(tmp_path, index, {})
    assert others == [] and read(tmp_path)["rows"] == ["a", "b", "all"]


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "_train", lambda *arguments: pytest.fail(f"a run was started: {arguments}"))
    run = Run("toy, seed 0", run_folder(tmp_path, "toy", 0), 10, 2, is_done=False)
    program = (
        "import sys, pathlib\nfrom cache_schema import claim\n"
        "with claim(pathlib.Path(sys.argv[1])) as is_ours:\n    print(is_ours, flush=True)\n    sys.stdin.read()"
    )
    lock = run.folder.with_name(".seed-0.lock")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        assert not make_run(run, ["-c=x"])
        other.kill()  # and its claim ends, however it ends
    started: list[str] = []
    monkeypatch.setattr(matrix, "_train", lambda command, *arguments: started.append(command))
    run.folder.mkdir()
    with pytest.raises(ValueError, match="the recipe wrote no"):
        make_run(run, ["-c=x"])
    assert started == ["fit"]


def test_the_first_of_two_tasks_keeps_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"recipe": [{}], "fit_args": []}
    check_settings(tmp_path, settings, keep=False)
    assert not (tmp_path / "settings.json").exists()
    check_settings(tmp_path, settings)
    there = (tmp_path / "settings.json").read_text()
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as seen by a task that starts at the same moment
    check_settings(tmp_path, settings)
    with pytest.raises(ValueError, match="holds runs with another fit_args"):
        check_settings(tmp_path, settings | {"fit_args": ["--x"]})
    assert (tmp_path / "settings.json").read_text() == there


@pytest.fixture
def command(tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A matrix command whose fits and predictions are noted, and leave predictions."""
    from tests.train.commands.test_lightning import _create_cache

    (tmp_path / "recipe.yaml").write_text("trainer: {max_epochs: 3}\n")
    _create_cache(tmp_path / "cache", data)

    def leave(run: Run, arguments: list[str]) -> bool:
        finish(tmp_path / "out", data, run.title.partition(",")[0], int(run.title[-1]))
        return True

    monkeypatch.setattr(matrix, "make_run", leave)
    places = {"data": "data", "cache": "cache", "out": "out", "recipe": "recipe.yaml"}
    return ["matrix", *(f"--{name}={tmp_path / place}" for name, place in places.items())]


def test_a_dry_run_numbers_the_runs_tells_their_cost_and_does_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert main([*command, "--seeds=2", "--dry_run=true", "--images_per_second=2"]) == 0
    assert capsys.readouterr().out == (
        "0  to do  a, seed 0\n1  to do  b, seed 0\n2  to do  a, seed 1\n3  to do  b, seed 1\n"
    )
    # 4 fits of 4 images of a source and its photographs, three times over, two images a second.
    assert "4 fits of 3 epochs, 0 done; 48 training images to take in: 24 seconds, at 2 images/s" in caplog.text
    assert not (tmp_path / "out").exists()
    assert main([*command, "--dry_run=true"]) == 0
    assert "hours are unknown: --images_per_second gives an estimate" in caplog.text


def test_tasks_do_the_runs_of_their_numbers(
    command: list[str], tmp_path: Path, data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--seeds=2", "--only=1"]) == 0
    assert read(tmp_path / "out")["seeds"] == {"b": [0]}
    assert main([*command, "--seeds=2", "--only=0,3"]) == 0
    assert read(tmp_path / "out")["seeds"] == {"a": [0], "b": [0, 1]}
    capsys.readouterr()
    assert main([*command, "--sources", "a"]) == 0  # one source is asked for, and done
    assert read(tmp_path / "out")["seeds"] == {"a": [0], "b": [0, 1]}
    assert "trained on" in capsys.readouterr().out
    assert [*find_finished(tmp_path / "out", data.table([*COLUMNS]))["b"]] == [0, 1]
    for only, sentence in (("4", "there are 4 runs, 0 … 3"), ("x", "expected numbers of runs"), ("3-1", "expected")):
        assert main([*command, "--seeds=2", f"--only={only}"]) == 1
        assert sentence in capsys.readouterr().err
