"""A detector folder by the real export: tiny models, packed pictures, extracted maps, a network with random weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from cache_schema import Dataset, write_dataset
from detect import Detector
from extract.__main__ import main as extract_main
from tests.extract.conftest import make_images
from tests.extract.conftest import one_thread as one_thread  # a fixture of every test here too
from tests.models import IMAGE_SIZE_PX, save_tiny_sd
from tests.samples import make_sample
from train.data.datamodule import LareDataModule
from train.export import export_checkpoint
from train.record import describe_training
from train.scoring.calibration import Calibration
from train.task import LareTask

TINY = {"backbone": "resnet_tiny_clip", "image_size": 56, "map_channels": 4}
SPLITS = ("train",) * 16 + ("validation",) * 24 + ("test",) * 8
CALIBRATION = Calibration(0.5, 2.0, ((0.49, 0.51), (0.48, 0.52), (0.4, 0.6), (0.3, 0.7), (0.2, 0.8)))


@dataclass(frozen=True)
class Made:
    """All that a detector was made of."""

    data: Path
    cache: Path
    model: Path
    checkpoint: Path
    folder: Path
    """The exported detector, without its diffusion model."""

    @property
    def dataset(self) -> Dataset:
        return Dataset.open(self.data)


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hashes of weights are remembered in a folder of the test's own."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Pictures of several sizes; groups of two; validation has twelve photographs of six groups."""
    root = tmp_path_factory.mktemp("detector")
    images = make_images(len(SPLITS))
    samples = [make_sample(i, image=images[i], split=s, group=f"{s}-{i // 4}") for i, s in enumerate(SPLITS)]
    data, cache, model = root / "data", root / "cache", save_tiny_sd(root / "sd")
    write_dataset(data, samples, {"made_by": "a test"}, max_rows=8)
    places = [f"--data={data}", f"--cache={cache}", f"--model={model}", f"--image_size={IMAGE_SIZE_PX}"]
    how = ["--ensemble_size=2", "--batch_size=4", "--num_workers=0", "--device=cpu", "--stored_dtype=float32"]
    assert extract_main(["run", *places, *how]) == 0
    checkpoint = root / "run" / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir(parents=True)
    torch.manual_seed(0)
    task = LareTask(**TINY, map_transform="log")
    for _ in range(3):  # running statistics
        task.model(torch.rand(8, 3, 56, 56), torch.rand(8, 4, 7, 7))
    task.calibration = CALIBRATION
    module = LareDataModule(str(data), str(cache), num_workers=0, crop_px=56)
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**content, "trained_on": describe_training(module)}, checkpoint)
    export_checkpoint(str(checkpoint), str(root / "out"), str(data), str(cache))
    return Made(data, cache, model, checkpoint, root / "out")


@pytest.fixture(scope="session")
def detector(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """The detector, loaded; with a false-alarm rate that six groups support."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("home")))
        return Detector.from_pretrained(made.folder, made.model, "cpu", false_alarm_rate=0.2, batch_size=4)


@pytest.fixture
def pictures() -> list[bytes]:
    """Six small PNG files of several sizes."""
    return make_images(6)


def as_pixels(size: tuple[int, int] = (64, 64), seed: int = 0) -> np.ndarray:
    """(height, width, 3), uint8."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
