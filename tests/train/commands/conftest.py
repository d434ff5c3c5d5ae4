"""A real run of an epoch, made once, and copies of it that tests change into a stranger's."""

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

LONGER = ("--trainer.max_epochs=2", "--model.other_length=rescale")


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
            return ("fit", "-c", CONFIGS / "lare2.yaml", *own, *LONGER, "--out", self.out)
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
