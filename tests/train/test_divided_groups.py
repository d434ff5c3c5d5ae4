"""Groups that lie in several splits: a fit and an evaluation refuse them, or say so where that is allowed."""

import json
from pathlib import Path

import pytest

from cache_schema import Cache, Dataset, DatasetError, write_dataset
from tests.samples import make_sample
from tests.train.packed import extract, module
from train.__main__ import main
from train.commands.matrix import run_matrix
from train.record import describe_training
from train.scoring.matrix import format_matrix


@pytest.fixture
def divided(tmp_path: Path) -> tuple[Dataset, Cache]:
    """A photograph and a generated image a group; one group in two lies in training and test."""
    splits = ["train" if i % 2 == 0 or i % 4 == 1 else "test" for i in range(16)]
    splits += ["validation"] * 4 + ["test"] * 4
    samples = [make_sample(i, split=split, group=f"scene-{i // 2}") for i, split in enumerate(splits)]
    dataset = write_dataset(tmp_path / "data", samples, {}, max_rows=8)
    return dataset, extract(dataset, tmp_path / "cache")


def test_a_fit_refuses_divided_groups(divided: tuple[Dataset, Cache]) -> None:
    message = r"4 of 12 groups lie in several splits: scene-1 .*--data.allow_divided_groups=true goes on"
    for stage in ("fit", "validate"):
        with pytest.raises(DatasetError, match=message):
            module(*divided).setup(stage)
    module(*divided).setup("predict")  # scores; results are for evaluation to refuse


def test_a_fit_on_divided_groups_that_is_allowed_says_so_in_its_checkpoints(divided: tuple[Dataset, Cache]) -> None:
    data = module(*divided, allow_divided_groups=True)
    data.setup("fit")
    assert "scene-1 (1 in train, 1 in test)" in describe_training(data)["divided_groups"]


def test_an_evaluation_refuses_divided_groups_or_prints_them(
    divided: tuple[Dataset, Cache], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, cache = divided
    places = [f"--data={dataset.folder}", f"--cache={cache.folder}"]
    assert main(["readings", *places, "--split=test", f"--out={tmp_path}"]) == 0
    scored = ["--readings", f"mean_lare={tmp_path / 'mean_lare.parquet'}", f"--out={tmp_path / 'results.json'}"]
    assert main(["evaluate", *places, *scored]) == 1
    assert "--allow_divided_groups true goes on all the same" in capsys.readouterr().err
    assert not (tmp_path / "results.json").exists()
    assert main(["evaluate", *places, *scored, "--allow_divided_groups=true"]) == 0
    shown = "4 of 12 groups lie in several splits: scene-1 (1 in train, 1 in test)"
    assert shown in capsys.readouterr().out.splitlines()[1]
    assert shown in json.loads((tmp_path / "results.json").read_text())["settings"]["divided_groups"]


def test_a_matrix_refuses_divided_groups_or_prints_them(
    divided: tuple[Dataset, Cache], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset, cache = divided
    (tmp_path / "recipe.yaml").write_text("data: {batch_size: 2}\n")
    settings = {"recipe": [str(tmp_path / "recipe.yaml")], "data": str(dataset.folder), "cache": str(cache.folder)}
    settings |= {"out": str(tmp_path / "out"), "dry_run": True}
    with pytest.raises(DatasetError, match=r"--fit_args=--data.allow_divided_groups=true goes on"):
        run_matrix(**settings)
    run_matrix(**settings, fit_args="--data.allow_divided_groups=true")
    assert "scores count images that were trained on" in caplog.text
    text = format_matrix({"settings": {"divided_groups": "4 of 12"}, "rows": [], "columns": [], "metrics": {}})
    assert text == "scores count images that were trained on: 4 of 12\n"
