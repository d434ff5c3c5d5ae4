"""Photographs to train toy models on for a few steps, and a toy model's folder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from demo.toy import training


@pytest.fixture(scope="module")
def saved_and_logged_often() -> Iterator[None]:
    """Every second step is saved, every third measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "SAVE_EVERY_STEPS", 2)
        patch.setattr(training, "LOG_EVERY_STEPS", 3)
        yield


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs in each of two classes."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("tulips", "t-shirt"):
        (folder / "things" / name).mkdir(parents=True)
        for i in range(4):
            pixels = np.random.default_rng(i).integers(0, 256, (90, 120, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "things" / name / f"{i}.jpg")
    return folder


@pytest.fixture(scope="session")
def sd_folder(pipeline: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained toy latent diffusion model."""
    folder = tmp_path_factory.mktemp("sd")
    pipeline.save_pretrained(folder)
    return folder


def weights(out: Path) -> dict[str, torch.Tensor]:
    """All weights of the model folder that a training saved."""
    return {
        f"{file.parent.name}/{name}": value
        for file in sorted((out / "model").rglob("*.safetensors"))
        for name, value in load_file(file).items()
    }
