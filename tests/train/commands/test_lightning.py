"""The command line: one run from fit to results, and what it refuses."""

import csv
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from cache_schema import RULES, Dataset, Fingerprint, create_cache, store_name
from tests.samples import make_shard
from train.__main__ import main
from train.scoring.scores import parse_named_files

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:Experiment logs directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*could not find the monitored key"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]
CONFIGS = Path(__file__).parents[3] / "train" / "configs"
DEMO_CONFIG = Path(__file__).parents[3] / "demo" / "configs" / "full.yaml"


def _create_cache(folder: Path, dataset: Dataset, timestep: int = 200) -> Path:
    fields = {"method": "lare", "timestep": timestep, "image_size": 16, "stored_dtype": "float32", "mantissa_bits": 23}
    cache = create_cache(folder, dataset.dataset_id, Fingerprint(fields | RULES))
    for number, tar in enumerate(dataset.tars):
        cache.write(store_name(tar.name), make_shard(dataset.rows(number), tar))
    return folder


@pytest.fixture
def small(dataset: Dataset, tmp_path: Path) -> Path:
    """Settings that make our recipe a matter of seconds."""
    settings = {
        "trainer": {
            "max_epochs": 1,
            "precision": "32-true",
            "accelerator": "cpu",
            "log_every_n_steps": 1,
            "enable_model_summary": False,
        },
        "model": {"backbone": "resnet_tiny_clip", "pretrained": False},
        "data": {
            "data": str(dataset.folder),
            "cache": str(_create_cache(tmp_path / "cache", dataset)),
            "batch_size": 4,
            "num_workers": 0,
            "crop_px": 16,
        },
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Runs `python -m train …` in this process; gives its exit code."""

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
        return main()

    return call


def test_fit_predict_evaluate(run, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, recipe = tmp_path / "run", ("-c", CONFIGS / "lare2.yaml", "-c", small)
    assert run("fit", *recipe, "--seed_everything=7", "--out", out) == 0
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "provenance.json"}
    assert "val_auroc" in (out / "metrics.csv").read_text().splitlines()[0]

    provenance = json.loads((out / "checkpoints" / "provenance.json").read_text())
    assert (provenance["settings"]["data"]["data"], provenance["settings"]["out"]) == ("data", "run")
    assert str(tmp_path) not in json.dumps(provenance)
    assert provenance["settings"]["data"]["seed"] == 7
    assert provenance["settings"]["model"]["image_size"] == 16
    assert provenance["caches"][0]["fields"]["timestep"] == 200
    assert len(provenance["caches"][0]["fingerprint"]) == len(provenance["dataset_id"]) == 64
    assert provenance["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert yaml.safe_load((out / "config.yaml").read_text())["model"]["backbone"] == "resnet_tiny_clip"
    checkpoint = out / "checkpoints" / "best.ckpt"
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["map_channels"] == 4

    # the checkpoint brings its own model settings: the recipe alone would build the large backbone
    data = [f"--data.{k}={v}" for k, v in yaml.safe_load(small.read_text())["data"].items()]
    predict = ("predict", "--trainer.accelerator=cpu", *data, "--out", out, "--ckpt_path", checkpoint)
    assert run(*predict) == 0
    predictions = out / "predictions.parquet"
    assert len(pq.read_table(predictions)) == 4
    assert (out / "metrics.csv").exists()
    assert run(*predict) == 1  # the predictions are there already

    folders = ("--data", tmp_path / "data", "--cache", tmp_path / "cache")
    assert run("readings", *folders, "--split", "test", "--out_folder", tmp_path) == 0
    assert run("readings", *folders, "--split", "validation", "--out_folder", tmp_path / "val") == 0
    named = ("--readings", f"full={predictions}", f"full={predictions}", f"mean_lare={tmp_path / 'mean_lare.parquet'}")
    validation = ("--validation", f"mean_lare={tmp_path / 'val' / 'mean_lare.parquet'}")
    capsys.readouterr()
    assert run("evaluate", *folders, *named, *validation, "--out", tmp_path / "results.json") == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert str(tmp_path) not in json.dumps(results)
    assert results["readings"]["full"]["sources"]["toy"]["n_generated"] == 2
    assert results["readings"]["full"]["sources"]["toy"]["auroc_sd"] == 0
    assert results["readings"]["mean_lare"]["sources"]["toy"]["accuracy"] is None
    assert results["readings"]["mean_lare"]["sources"]["toy"]["accuracy_at_val_threshold"] is not None
    assert results["settings"]["thresholds"]["full"][0] == results["settings"]["thresholds"]["full"][1]
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "samples of the test split"
    assert table[2].split()[:3] == ["full", "toy", "2"]


def test_without_validation_no_accuracy_is_reported_at_a_threshold(
    run, small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "run"
    assert run("fit", "-c", CONFIGS / "lare2.yaml", "-c", small, "--trainer.limit_val_batches=0", "--out", out) == 0
    assert "best.ckpt is not written: the fit has no val_auroc to choose it by." in caplog.text
    last = out / "checkpoints" / "last.ckpt"
    data = [f"--data.{k}={v}" for k, v in yaml.safe_load(small.read_text())["data"].items()]
    assert run("predict", "--trainer.accelerator=cpu", *data, "--out", out, "--ckpt_path", last) == 0
    folders = ("--data", tmp_path / "data", "--cache", tmp_path / "cache")
    named = ("--readings", f"full={out / 'predictions.parquet'}")
    assert run("evaluate", *folders, *named, "--out", tmp_path / "results.json") == 0
    results = json.loads((tmp_path / "results.json").read_text())
    block = results["readings"]["full"]["sources"]["toy"]
    assert block["accuracy_at_val_threshold"] is None and block["unsure"] == []
    assert block["accuracy"] is not None and block["auroc"] is not None
    assert results["readings"]["full"]["mean"]["accuracy_at_val_threshold"] is None
    assert results["settings"]["thresholds"] == results["settings"]["calibrations"] == {"full": [None]}
    assert "full: no threshold was chosen on validation, what stands at it is null" in caplog.text


def test_bf16_clipping_and_early_stopping_come_from_the_settings(run, small: Path, tmp_path: Path) -> None:
    stopping = ("--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val_auroc")
    stopping += ("--trainer.callbacks.mode=max", "--trainer.callbacks.patience=1")
    frozen = (
        "--model.learning_rate=0.0",
        "--model.schedule=constant",
        "--model.image=false",
        "--trainer.max_epochs=20",
    )
    bf16 = ("--trainer.enable_progress_bar=false", "--trainer.precision=bf16-mixed", "--trainer.gradient_clip_val=0.1")
    out = tmp_path / "run"
    assert run("fit", "-c", CONFIGS / "lare2.yaml", "-c", small, "--out", out, *bf16, *frozen, *stopping) == 0
    last = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] < 19
    assert any(name.startswith("EarlyStopping") for name in last["callbacks"])
    assert all(value.dtype == torch.float32 for name, value in last["state_dict"].items() if name.endswith("weight"))
    settings = yaml.safe_load((out / "config.yaml").read_text())["trainer"]
    assert (settings["precision"], settings["gradient_clip_val"]) == ("bf16-mixed", 0.1)


@pytest.mark.parametrize("recipe", [CONFIGS / "lare2.yaml", DEMO_CONFIG], ids=["lare2", "demo"])
def test_the_last_epoch_is_kept_although_the_first_was_best(
    run, recipe: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.scoring.metrics.auroc", lambda scores, labels: 0.5)
    out = tmp_path / "run"
    assert run("fit", "-c", recipe, "-c", small, "--out", out, "--trainer.max_epochs=2") == 0
    epochs = {path.name: torch.load(path, weights_only=True)["epoch"] for path in (out / "checkpoints").glob("*.ckpt")}
    assert epochs == {"best.ckpt": 0, "last.ckpt": 1}


@pytest.mark.slow
def test_a_folder_that_holds_a_run_is_refused_or_resumed(
    run, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    fit = ("fit", "-c", CONFIGS / "lare2.yaml", "-c", small, "--out", out)
    assert run(*fit) == 0
    logged = (out / "metrics.csv").read_text()
    kept = [out / "config.yaml", out / "checkpoints" / "provenance.json"]
    written = [path.read_bytes() for path in kept]
    assert run(*fit) == 1
    assert f"{out} holds a run already: choose another --out, or resume it" in capsys.readouterr().err
    assert (out / "metrics.csv").read_text() == logged
    longer = (*fit, "--trainer.max_epochs=2", "--ckpt_path", out / "checkpoints" / "last.ckpt")
    assert run(*longer) == 1
    assert "this fit has 8: it would go from 0 to 5e-05." in capsys.readouterr().err
    assert (out / "metrics.csv").read_text() == logged
    assert [path.read_bytes() for path in kept] == written
    assert run(*longer, "--model.other_length=rescale") == 0
    assert (out / "metrics.csv").read_text().startswith(logged)
    assert all(path.read_bytes() != before for path, before in zip(kept, written, strict=True))
    assert {int(row["step"]) for row in csv.DictReader((out / "metrics.csv").read_text().splitlines())} == set(range(8))
    assert not list(out.glob("metrics-*.csv"))
    assert torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 8


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv"])
def test_a_run_does_not_write_through_a_link(
    name: str, run, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / name).symlink_to(tmp_path / "elsewhere")
    assert run("fit", "-c", CONFIGS / "lare2.yaml", "-c", small, "--out", out) == 1
    assert f"{out / name} is a symbolic link, which a fit does not follow" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_a_cache_of_other_settings_is_refused(
    run, small: Path, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run("fit", "-c", CONFIGS / "lare2.yaml", "-c", small, "--out", out) == 0
    other = _create_cache(tmp_path / "other", dataset, timestep=261)
    test = ("test", "-c", small, "--out", out, "--ckpt_path", out / "checkpoints" / "best.ckpt", "--data.cache", other)
    assert run(*test) == 1
    assert "timestep: 200 ≠ 261" in capsys.readouterr().err
    assert run(*test, '--model.allow_difference=["timestep"]') == 0


@pytest.mark.parametrize("seed", ["true", "false"])
def test_a_seed_that_is_no_integer_is_refused(run, small: Path, seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("fit", "-c", small, "--seed_everything", seed)
    assert stopped.value.code == 2
    assert f"is {seed.capitalize()}: expected int" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "view"), [("lare2.yaml", ("canvas", None)), ("lare2_paper.yaml", ("native", "whole"))]
)
def test_configurations_parse(run, name: str, view: tuple, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("fit", "-c", CONFIGS / name, "--data.data=d", "--data.cache=c", "--print_config")
    assert stopped.value.code == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["model"]["backbone"] == "resnet50_clip"
    assert (settings["data"]["view"], settings["data"]["alignment"]) == view


def test_help_explains_the_changes_of_the_image(run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("fit", "--help")
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--data.changes.jpeg_quality [ITEM,...] Least and greatest quality, of 1 … 100" in text
    assert "--data.changes.hue HUE Greatest turn of the hue" in text


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["full"], "'full': expected NAME=FILE"),
        (["=x"], "'=x': expected NAME=FILE"),
        (["full=nowhere"], "there is no file nowhere"),
    ],
)
def test_named_files_are_checked(items: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_named_files(items)


def test_validation_of_an_unknown_reading_is_refused(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p").touch()
    with pytest.raises(SystemExit) as stopped:
        named = ("--readings", f"full={tmp_path / 'p'}", "--validation", f"other={tmp_path / 'p'}")
        run("evaluate", "--data=d", "--cache=c", *named, "--out=o")
    assert stopped.value.code == 2
    assert "--validation names other, which --readings does not" in capsys.readouterr().err
