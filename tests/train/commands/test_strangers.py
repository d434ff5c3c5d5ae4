"""A stranger's checkpoint, run folder and settings file: no command makes the marker file that they name."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from tests.train.commands.conftest import Strange
from workflow import lare

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:.*dirpath has changed from"),
]


COMMANDS = ("fit", "validate", "test", "predict", "export")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_that_nobody_changed_is_taken_by_every_command(strange: Strange, command: str) -> None:
    assert strange.run(*strange.command(command)) == 0


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("field", ["record", pytest.param("backbone", marks=pytest.mark.slow)])
def test_hyperparameters_of_a_checkpoint_build_nothing(strange: Strange, command: str, field: str) -> None:
    strange.change(
        "hyper_parameters", {field: {"calibration": strange.spec()} if field == "record" else strange.spec()}
    )
    status = strange.run(*strange.command(command))
    assert not strange.marker.exists()
    assert status == (0 if field == "record" else 1)


@pytest.mark.parametrize("command", ["fit", pytest.param("predict", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "place", ["trainer.callbacks", "trainer.logger", "trainer.profiler", "model.record.x", "data.changes", "a callable"]
)
def test_a_settings_file_names_no_class_of_others(
    strange: Strange, command: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec: Any = strange.spec()
    if place == "trainer.callbacks":
        spec = [spec]
    elif place == "a callable":
        call = {"class_path": "functools.partial", "init_args": {"func": "logging.FileHandler"}}
        spec = [{"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"setup": call}}]
        place = "trainer.callbacks"
    settings: Any = spec
    for name in reversed(place.split(".")):
        settings = {name: settings}
    hostile = strange.folder / "hostile.yaml"
    hostile.write_text(yaml.safe_dump(settings))
    status = strange.run(*strange.command(command), "-c", hostile)
    assert not strange.marker.exists()
    if place != "model.record.x":  # a fact that stays as it is
        assert status == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_run_folder_decides_nothing_but_its_weights(strange: Strange) -> None:
    """Its settings name a class, other data and another place; its predictions and results are lies."""
    assert strange.run(*strange.command("predict"), "--out", strange.folder / "honest") == 0
    honest = pq.read_table(strange.folder / "honest" / "predictions.parquet")
    lie = honest.set_column(honest.column_names.index("score"), "score", pa.array([1.0, 0.0] * (len(honest) // 2)))
    pq.write_table(lie, strange.out / "predictions.parquet")
    (strange.out / "results.json").write_text("{}")
    settings = yaml.safe_load((strange.out / "config.yaml").read_text())
    settings["trainer"]["callbacks"] = [strange.spec()]
    settings["predictions"]["path"] = "elsewhere.parquet"
    settings["data"] |= {"data": "/nowhere", "predict_split": "train"}
    (strange.out / "config.yaml").write_text(yaml.safe_dump(settings))

    flags = ["--trainer.accelerator", "cpu", "--data.num_workers", "0"]
    places = [part for flag in strange.data for part in flag.split("=", 1)]
    assert lare.main(["predict", "--ckpt", str(strange.last), *places, "--overwrite", *flags]) == 0
    assert not strange.marker.exists() and not (strange.out / "elsewhere.parquet").exists()
    found = pq.read_table(strange.out / "predictions.parquet")
    assert found["split"].unique().to_pylist() == ["test"]
    assert found["score"].to_pylist() == honest["score"].to_pylist() != lie["score"].to_pylist()


@pytest.mark.parametrize("path", ["../elsewhere.parquet", "/tmp/elsewhere.parquet", "link/elsewhere.parquet", ".."])
def test_predictions_stay_below_the_output_folder(
    strange: Strange, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = strange.folder / "predict"
    out.mkdir()
    (out / "link").symlink_to(strange.folder)
    assert strange.run(*strange.command("predict"), "--predictions.path", path) == 1
    assert f"predictions.path is {path}: expected a file below --out" in capsys.readouterr().err
    assert not list(strange.folder.glob("*.parquet")) and not Path("/tmp/elsewhere.parquet").exists()


@pytest.mark.parametrize("form", ["{out}/checkpoints/../../precious", "{folder}/precious", "file://{folder}/precious"])
def test_a_checkpoint_removes_nothing_outside_its_run(strange: Strange, form: str) -> None:
    precious = strange.folder / "precious"
    precious.mkdir()
    (precious / "thesis.tex").touch()
    (strange.folder / "precious.ckpt").touch()
    named = form.format(out=strange.out, folder=strange.folder)
    content = torch.load(strange.last, weights_only=True)
    for state in content["callbacks"].values():
        if "best_model_path" in state:
            state["dirpath"] = str(strange.out / "checkpoints")
            state["best_model_path"] = state["kth_best_model_path"] = named
            state["last_model_path"] = f"{named}.ckpt"
            state["best_k_models"] = {named: torch.tensor(-1.0)}
            state["kth_value"] = state["best_model_score"] = torch.tensor(-1.0)
    torch.save(content, strange.last)
    assert strange.run(*strange.command("fit")) == 0
    assert (precious / "thesis.tex").exists() and (strange.folder / "precious.ckpt").exists()
    assert torch.load(strange.last, weights_only=True)["epoch"] == 1
