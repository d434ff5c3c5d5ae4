"""Fixtures of stage 1: tiny models on the disk, a few images in two tars, and a run through the command line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache_schema import Dataset, ShardData, open_cache, write_dataset
from extract.__main__ import main
from tests.models import save_tiny_sd
from tests.samples import encode_png, make_sample

Run = Callable[..., int]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny models: threads would wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def own_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hashes of weights are remembered elsewhere than in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders by name."""
    root = tmp_path_factory.mktemp("models")
    return {
        "sd": save_tiny_sd(root / "sd"),
        "sd_v": save_tiny_sd(root / "sd_v", prediction_type="v_prediction"),
        "unconditional": save_tiny_sd(root / "unconditional", conditional=False),
        "tiny_vae": save_tiny_sd(root / "tiny_vae", tiny_vae=True),
    }


def make_images(num_images: int) -> list[bytes]:
    """Smooth coloured pictures of several sizes and aspect ratios, as PNG."""
    images = []
    for i in range(num_images):
        rng = np.random.default_rng(100 + i)
        height, width = rng.integers(48, 96, 2)
        coarse = rng.integers(0, 256, (6, 6, 3))
        images.append(encode_png(np.kron(coarse, np.ones((16, 16, 1)))[:height, :width].astype(np.uint8)))
    return images


def pack(folder: Path, numbers: list[int], *, max_rows: int = 5, **fields: Any) -> Dataset:
    """A dataset of some of the pictures, in the given order."""
    images = make_images(max(numbers) + 1)
    samples = [make_sample(i, image=images[i], **fields) for i in numbers]
    return write_dataset(folder, samples, {"made_by": "a test"}, max_rows=max_rows)


@pytest.fixture
def packed(tmp_path: Path) -> Dataset:
    """Seven pictures in tars of five and two rows."""
    return pack(tmp_path / "data", list(range(7)))


@pytest.fixture
def run(models: dict[str, Path], tmp_path: Path) -> Run:
    """The command line with settings for tests: `run(timestep=100)`; returns the exit status."""

    def call(**settings: Any) -> int:
        defaults = {
            "data": tmp_path / "data",
            "cache": tmp_path / "cache",
            "model": models["sd"],
            "image_size": 64,
            "ensemble_size": 2,
            "batch_size": 4,
            "num_workers": 0,
            "stored_dtype": "float32",
            "device": "cpu",
        }
        return main(["run", *(f"--{name}={value}" for name, value in {**defaults, **settings}.items())])

    return call


def read_maps(folder: Path) -> dict[str, np.ndarray]:
    """Sample key → map, from all stores of a cache."""
    cache = open_cache(folder)
    shards: list[ShardData] = [cache.read(name) for name in cache.shards()]
    return {key: lare for shard in shards for key, lare in zip(shard.keys, shard.lare, strict=True)}


def assert_same_maps(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], *, tolerance: float = 1e-5) -> None:
    """Both hold the same keys, and maps that are equal in the contract's sense: max |a − b| ≤ tolerance · max |a|."""
    assert ours.keys() == theirs.keys()
    for key, a in ours.items():
        assert np.abs(a - theirs[key]).max() <= tolerance * np.abs(a).max(), key
