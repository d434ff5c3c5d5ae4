"""The matrix: what is added up, what is run, skipped and refused, and one real run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from cache_schema import Dataset, write_dataset
from tests.samples import make_sample
from tests.train.commands.test_lightning import _create_cache
from train.__main__ import main
from train.commands import matrix
from train.commands.matrix import check_settings, make_run
from train.runs import TIME_NAME, Run
from train.scoring.matrix import check_rows


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    settings = {"recipe": [{"data": {"flip": True}}], "fit_args": []}
    check_settings(tmp_path, settings)
    check_settings(tmp_path, settings)
    with pytest.raises(ValueError, match=r"holds runs with another recipe, see .*: choose another --out"):
        check_settings(tmp_path, settings | {"recipe": [{"data": {"flip": False}}]})


def test_a_run_is_skipped_resumed_or_started_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(matrix, "_train", lambda *arguments: called.append(arguments))
    run = Run("toy, seed 0", tmp_path, num_images=10, num_epochs=2, is_done=False)
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match=r"the recipe wrote no .*best\.ckpt"):
        make_run(run, ["-c=x"])
    assert called.pop() == ("fit", "-c=x", f"--out={tmp_path}")
    assert not (tmp_path / "config.yaml").exists()
    assert json.loads((tmp_path / TIME_NAME).read_text())["images"] == 20
    (tmp_path / TIME_NAME).unlink()
    (checkpoints / "last.ckpt").touch()
    (checkpoints / "best.ckpt").touch()
    assert make_run(run, ["-c=x"])
    assert called[0] == ("fit", "-c=x", f"--out={tmp_path}", f"--ckpt_path={checkpoints / 'last.ckpt'}")
    assert called[1][:2] == ("predict", f"-c={tmp_path / 'config.yaml'}")
    assert not (tmp_path / TIME_NAME).exists()  # a part of a fit tells nothing about a whole one
    (tmp_path / "predictions.parquet").touch()
    assert make_run(run, ["-c=x"])
    assert len(called) == 2


def index_of(*samples: tuple[str, int | None, str, str]) -> pa.Table:
    """Split, label, image source and subset of each sample, as an index has them."""
    columns = zip(*samples, strict=True)
    return pa.table(dict(zip(("split", "label", "image_source", "subset"), map(list, columns), strict=True)))


WHOLE = [
    (split, label, name if label else "real", name)
    for split in ("train", "validation", "test")
    for name in ("a", "b")
    for label in (0, 1)
]


def test_a_whole_dataset_passes() -> None:
    check_rows(index_of(*WHOLE, ("test", None, "control", "c")), ["a", "b", "all"], "test")


@pytest.mark.parametrize(
    ("missing", "sentences"),
    [
        ([("train", 0, "real", "b")], ["b has no real images in train"]),
        ([("validation", 1, "b", "b")], ["b has no generated images in validation"]),
        (
            [("validation", label, name, "a") for label, name in ((0, "real"), (1, "a"))],
            ["a has no real images in validation", "a has no generated images in validation"],
        ),
        ([("test", 0, "real", "a")], ["a has no real images of its subset a in test"]),
        ([("test", 1, "a", "a"), ("test", 1, "b", "b")], ["there are no generated images in test"]),
        (
            [("validation", 0, "real", "a"), ("test", 0, "real", "b")],
            ["a has no real images in validation", "b has no real images of its subset b in test"],
        ),
    ],
)
def test_all_that_sources_lack_is_told_at_once(
    missing: list[tuple[str, int | None, str, str]], sentences: list[str]
) -> None:
    index = index_of(*(sample for sample in WHOLE if sample not in missing))
    with pytest.raises(ValueError, match=re.escape("; ".join(sentences)) + r"\. Leave such sources out with --sources"):
        check_rows(index, ["a", "b", "all"], "test")


def test_a_source_that_is_left_out_may_lack_what_only_fits_need() -> None:
    index = index_of(*(sample for sample in WHOLE if sample != ("validation", 0, "real", "b")))
    check_rows(index, ["a"], "test")
    check_rows(index, ["a"], "train")
    with pytest.raises(ValueError, match="b has no real images of its subset b in validation"):
        check_rows(index, ["a"], "validation")


def test_a_matrix_is_refused_before_its_first_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [make_sample(n, split=split) for n, split in enumerate(("train", "train", "validation", "test"))]
    write_dataset(tmp_path / "data", samples, {})
    (tmp_path / "recipe.yaml").write_text("data: {batch_size: 2}\n")
    monkeypatch.setattr(matrix, "_train", lambda *arguments: pytest.fail(f"a run was started: {arguments}"))
    options = {"data": "data", "cache": "cache", "out": "out", "recipe": "recipe.yaml"}
    monkeypatch.setattr(sys, "argv", ["train", "matrix", *(f"--{k}={tmp_path / v}" for k, v in options.items())])
    assert main() == 1
    assert "in validation" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("recipes", "fit_args", "split"),
    [
        ([{}], [], "test"),
        ([None, {"data": {"predict_split": "validation"}}, {"data": None}], [], "validation"),
        ([{"data": {"predict_split": "validation"}}], ["--data.predict_split=train"], "train"),
        ([], ["--data.predict_split", "train", "--x"], "train"),
    ],
)
def test_the_split_that_is_scored_is_the_last_one_named(recipes: list[object], fit_args: list[str], split: str) -> None:
    assert matrix._find_setting(recipes, fit_args, "data", "predict_split", "test") == split


def write_recipe(path: Path) -> None:
    """A fit of one epoch, on the CPU, of maps alone."""
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
    path.write_text(yaml.safe_dump(recipe))


@pytest.mark.slow
def test_a_matrix_from_data_to_picture(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(tmp_path / "recipe.yaml")
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


@pytest.mark.slow
def test_two_tasks_at_once_leave_one_table(dataset: Dataset, tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml")
    options = {"data": dataset.folder, "cache": _create_cache(tmp_path / "cache", dataset), "out": tmp_path / "out"}
    options["recipe"] = tmp_path / "recipe.yaml"
    call = [sys.executable, "-m", "train", "matrix", *(f"--{name}={value}" for name, value in options.items())]
    tasks = [subprocess.Popen([*call, "--sources", "toy", "all", f"--only={n}"]) for n in range(2)]
    assert [task.wait(timeout=300) for task in tasks] == [0, 0]
    result = json.loads((tmp_path / "out" / "matrix.json").read_text())
    assert (result["rows"], result["seeds"]) == (["toy", "all"], {"toy": [0], "all": [0]})
    times = [json.loads(path.read_text()) for path in (tmp_path / "out").glob(f"runs/*/seed-0/{TIME_NAME}")]
    assert len(times) == 2 and all(each["seconds"] > 0 and each["images"] > 0 for each in times)
