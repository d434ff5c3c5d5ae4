"""A dozen photographs of a class that the toy models know and one that they do not, and two tiny models."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.photos import Tile
from demo.toy_images import SourceConfig, ToyModel
from experiments.toy_photos import load_photo_tiles
from tests.models import save_tiny_sd

SOURCES = SourceConfig(
    strengths=(0.3, 0.5, 0.7), img2img_guidance=3.0, sample_guidances=(3.0, 5.0), num_steps=4, batch_size=16
)


def save_photographs(folder: Path, seed: int, per_class: int = 6) -> Path:
    """Smooth colourful noise, 150 × 180 px, in the folders `flowers/daisy` and `pets/cats`."""
    rng = np.random.default_rng(seed)
    for class_folder in ("flowers/daisy", "pets/cats"):
        (folder / class_folder).mkdir(parents=True)
        for i in range(per_class):
            coarse = Image.fromarray(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8))
            coarse.resize((180, 150), Image.Resampling.BICUBIC).save(folder / class_folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_photographs(tmp_path_factory.mktemp("photographs"), seed=0)


@pytest.fixture(scope="session")
def generator_photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_photographs(tmp_path_factory.mktemp("generator"), seed=1)


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {letter: save_tiny_sd(root / letter, seed=seed) for seed, letter in enumerate("ab")}


@pytest.fixture(scope="session")
def models(model_folders: dict[str, Path]) -> list[ToyModel]:
    return [ToyModel.load(letter, folder, SOURCES) for letter, folder in model_folders.items()]


@pytest.fixture(scope="session")
def tiles(photographs: Path) -> list[Tile]:
    return load_photo_tiles(photographs, tiles_per_photo=2, seed=0)
