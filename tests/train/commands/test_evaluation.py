"""Predictions and results of one checkpoint on several datasets: always of one another."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cache_schema import Dataset, write_dataset
from tests.samples import make_sample
from tests.train.commands.conftest import Strange
from tests.train.commands.test_lightning import _create_cache
from tests.workflow.test_make import ENVIRONMENT
from train.scoring.prediction_file import hash_predictions, read_origin
from workflow import lare
from workflow.code_hash import ROOT

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
]


@pytest.fixture
def copy(tmp_path: Path) -> tuple[Path, Path]:
    """A dataset with the keys of the run's and other images, as degraded copies have them, and its cache."""
    splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    samples = [make_sample(i, split=split, size_px=20) for i, split in enumerate(splits)]
    dataset: Dataset = write_dataset(tmp_path / "copy", samples, {"made_by": "a copy"}, max_rows=8)
    return dataset.folder, _create_cache(tmp_path / "copy-cache", dataset)


def predict(run: Strange, out: Path, places: list[str]) -> int:
    data = [place.replace("--", "--data.", 1) for place in places]
    flags = ("--trainer.accelerator=cpu", "--data.num_workers=0", "--predictions.overwrite=true")
    return run.run("predict", f"--ckpt_path={run.last}", *data, *flags, "--out", out)


def evaluate(run: Strange, out: Path, places: list[str]) -> int:
    reading = f"detector={out / 'predictions.parquet'}"
    return run.run("evaluate", *places, "--readings", reading, "--out", out / "results.json")


def test_each_dataset_has_a_place_of_its_own(
    strange: Strange, copy: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other = tmp_path / "first", [f"--data={copy[0]}", f"--cache={copy[1]}"]
    assert predict(strange, first, strange.data) == evaluate(strange, first, strange.data) == 0
    predictions, results = first / "predictions.parquet", first / "results.json"
    settings = json.loads(results.read_text())["settings"]
    assert settings["readings_sha256"] == {"detector": [hash_predictions(predictions)]}
    origin = read_origin(predictions)
    assert origin is not None and origin.dataset_id == settings["dataset_id"]
    assert origin.fingerprints == (settings["fingerprint"],)
    assert origin.checkpoint_sha256 == hash_predictions(strange.last)

    before = predictions.read_bytes(), results.read_bytes()
    assert predict(strange, first, other) == 1
    assert "is of another dataset: choose another --out (by make: OUT=)" in capsys.readouterr().err
    assert (predictions.read_bytes(), results.read_bytes()) == before
    assert evaluate(strange, first, other) == 1
    assert "holds predictions of another dataset: name theirs, or predict again" in capsys.readouterr().err
    second = tmp_path / "second"
    assert predict(strange, second, other) == evaluate(strange, second, other) == 0
    assert json.loads((second / "results.json").read_text())["settings"]["dataset_id"] != settings["dataset_id"]


def test_results_go_with_the_predictions_that_they_are_of(strange: Strange, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert predict(strange, out, strange.data) == evaluate(strange, out, strange.data) == 0
    assert predict(strange, out, strange.data) == 0
    assert not (out / "results.json").exists()
    assert evaluate(strange, out, strange.data) == 0
    shutil.copy(out / "predictions.parquet", out / "others.parquet")
    others = ("--readings", f"mine={out / 'others.parquet'}", "--out", out / "results.json")
    assert strange.run("evaluate", *strange.data, *others) == 0
    assert predict(strange, out, strange.data) == 0
    assert (out / "results.json").exists()  # of other predictions


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_make_eval_puts_both_halves_into_out(strange: Strange, copy: tuple[Path, Path], tmp_path: Path) -> None:
    def make(out: Path, *places: str) -> subprocess.CompletedProcess[str]:
        settings = [f"PY={sys.executable}", f"CKPT={strange.last}", f"OUT={out}", *places]
        arguments = "ARGS=--trainer.accelerator cpu --data.num_workers 0 --predictions.path other.parquet"
        command = ["make", "--no-print-directory", "-C", str(ROOT), "-o", ".venv/.installed", "eval"]
        return subprocess.run(
            [*command, *settings, arguments], check=False, capture_output=True, text=True, env=ENVIRONMENT
        )

    own = [
        place.removeprefix("--").replace("data=", "DATA=", 1).replace("cache=", "CACHE=", 1) for place in strange.data
    ]
    out = tmp_path / "a place"
    done = make(out, *own)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {"predictions.parquet", "results.json"}
    before = (out / "results.json").read_bytes()
    again = make(out, f"DATA={copy[0]}", f"CACHE={copy[1]}")
    assert again.returncode and "is of another dataset: choose another --out" in again.stderr
    assert (out / "results.json").read_bytes() == before
    assert make(tmp_path / "b", f"DATA={copy[0]}", f"CACHE={copy[1]}").returncode == 0


def test_another_split_than_test_is_scored_only_where_it_is_asked_for(
    strange: Strange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trained"
    data = [place.replace("--", "--data.", 1) for place in strange.data]
    flags = ("--trainer.accelerator=cpu", "--data.num_workers=0", "--data.predict_split=train")
    assert strange.run("predict", f"--ckpt_path={strange.last}", *data, *flags, "--out", out) == 0
    assert evaluate(strange, out, strange.data) == 1
    assert "detector scores samples of train: expected test alone." in capsys.readouterr().err
    assert not (out / "results.json").exists()
    reading = ("--readings", f"detector={out / 'predictions.parquet'}")
    asked = ("--split", "train", "--out", out / "results.json")
    assert strange.run("evaluate", *strange.data, *reading, *asked) == 0
    assert json.loads((out / "results.json").read_text())["settings"]["split"] == "train"
    assert "samples of the train split" in capsys.readouterr().out


@pytest.mark.slow
def test_plots_as_the_page_shows_them(strange: Strange, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("lare plots")]
    assert predict(strange, strange.out, strange.data) == 0
    data, cache = (place.partition("=")[2] for place in strange.data)
    there = {"data/mine": data, "cache/mine/sd15-t200-e4": cache, "runs/plots": str(tmp_path / "plots")}
    there |= {"full=runs/a/predictions.parquet": f"full={strange.out / 'predictions.parquet'}"}
    there |= {"runs/a/checkpoints/best.ckpt": str(strange.best)}
    assert lare.main([there.get(word, word) for word in line.split()[1:]]) == 0
    drawn = {path.name for path in (tmp_path / "plots").iterdir()}
    assert {"full-roc.png", "full-precision-recall.png", "full-scores.png", "full-reliability.png"} <= drawn
    assert any("most-certain" in name for name in drawn)
