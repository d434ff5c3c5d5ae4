"""A stranger's checkpoint, run folder and settings file: no command makes the marker file that they name."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cache_schema import write_dataset
from tests.samples import make_sample
from tests.train.commands.test_lightning import CONFIGS, _create_cache
from train.__main__ import main

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:.*dirpath has changed from"),
]


class Strange:
    """A real run, whose files a test changes into a stranger's, and the user's own commands on them."""

    def __init__(self, folder: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.out, self.marker = folder, folder / "run", folder / "marker"
        self._patch = monkeypatch
        self.own = made / "own.yaml"
        self.data = [f"--data={made / 'data'}", f"--cache={made / 'cache'}"]
        shutil.copytree(made / "run", self.out)
        self.last, self.best = (self.out / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))

    def run(self, *arguments: object) -> int:
        self._patch.setattr(sys, "argv", ["train", *map(str, arguments)])
        return _main()

    def spec(self) -> dict[str, Any]:
        """What jsonargparse takes for an object: one that makes the marker when it is built."""
        return {"class_path": "logging.FileHandler", "init_args": {"filename": str(self.marker)}}

    def change(self, name: str, value: Any) -> None:
        """Change an entry of both checkpoints."""
        for path in (self.last, self.best):
            content = torch.load(path, weights_only=True)
            content[name].update(value)
            torch.save(content, path)

    def command(self, name: str) -> tuple[object, ...]:
        """A command that takes a checkpoint, with the user's own settings."""
        own = ("-c", self.own, "--ckpt_path", self.last)
        if name == "fit":
            return ("fit", "-c", CONFIGS / "lare2.yaml", *own, "--trainer.max_epochs=2", "--out", self.out)
        if name == "export":
            return ("export", f"--ckpt={self.last}", f"--out={self.folder / 'exported'}", *self.data)
        return (name, *own, "--out", self.folder / name)


def _main() -> int:
    try:
        return main()
    except SystemExit as stopped:
        return int(stopped.code or 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset, cache, the user's own settings, and a run of an epoch."""
    folder = tmp_path_factory.mktemp("made")
    splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    samples = [make_sample(i, split=split) for i, split in enumerate(splits)]
    dataset = write_dataset(folder / "data", samples, {"made_by": "a test"}, max_rows=8)
    cache = _create_cache(folder / "cache", dataset)
    places = {"data": str(dataset.folder), "cache": str(cache)}
    settings = {
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "log_every_n_steps": 1, "enable_model_summary": False},
        "model": {"backbone": "resnet_tiny_clip", "pretrained": False, "image": False},
        "data": {**places, "batch_size": 4, "num_workers": 0, "crop_px": 16},
    }
    settings["trainer"]["precision"] = "32-true"
    (folder / "own.yaml").write_text(yaml.safe_dump(settings))
    with pytest.MonkeyPatch.context() as patch:
        fit = ("fit", "-c", CONFIGS / "lare2.yaml", "-c", folder / "own.yaml", "--out", folder / "run")
        patch.setattr(sys, "argv", ["train", *map(str, fit)])
        assert _main() == 0
    return folder


@pytest.fixture
def strange(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Strange:
    return Strange(tmp_path, made, monkeypatch)


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
