"""The measurement of mirrored maps, on a model that is exactly symmetric."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.measures.flip import Mapper, choose_tiles, compare, compute_differences, measure_flip
from demo.toy.photos import Tile
from extract.noising import NoiseLevel
from extract.variants import Variant


class SymmetricModel:
    """Latents are the image's blocks; the prediction sees nothing but the place's own value."""

    def encode(self, images: Tensor, posterior_noise: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(images, 4) + 0.01 * posterior_noise

    def condition(self, prompts: list[str]) -> None:
        return None

    def noise_level(self, timestep: int) -> NoiseLevel:
        return NoiseLevel(timestep, torch.tensor(1.0), torch.tensor(0.0))

    def predict(self, noisy_latents: Tensor, level: NoiseLevel, condition: None) -> Tensor:
        return noisy_latents

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        return noise


@pytest.fixture
def tiles() -> list[Tile]:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    return [Tile("photo", i, 0, "scene", "test", one) for i, one in enumerate(pixels)]


def test_symmetric_model_differs_by_its_noise_alone(tiles: list[Tile]) -> None:
    model: Any = SymmetricModel()
    exact, by_key, another_seed = compute_differences(Mapper(model, (3, 16, 16), Variant(200, 4), "a photo"), tiles)
    assert exact.over_mean < 1e-6 and exact.mean_over_mean < 1e-6
    assert by_key.over_mean == pytest.approx(another_seed.over_mean, rel=0.1)
    assert another_seed.over_mean > 0.3 and "natural scale" in another_seed.of


def test_compare_by_hand() -> None:
    one, other = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2), torch.tensor([3.0, 5.0]).view(1, 1, 1, 2)
    difference = compare("a", one.repeat(2, 1, 1, 1), other.repeat(2, 1, 1, 1))
    assert difference.over_mean == pytest.approx(2 / 3) and difference.mean_over_mean == pytest.approx(2 / 3)
    swapped = compare("b", one.repeat(2, 1, 1, 1), one.flip(-1).repeat(2, 1, 1, 1))
    assert swapped.over_mean == pytest.approx(1) and swapped.mean_over_mean == 0


def test_tiles_are_not_those_that_the_model_saw() -> None:
    tiles = choose_tiles(20)
    assert len({tile.name for tile in tiles}) == 20 and {tile.role for tile in tiles} <= {"validation", "test"}
    with pytest.raises(ValueError, match="images is 1000000: there are"):
        choose_tiles(1_000_000)


def test_measure_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure_flip(images=4, ensemble_size=1, out=str(tmp_path / "flip.json"))
    content = json.loads((tmp_path / "flip.json").read_text())
    assert len(content["differences"]) == 3 and content["settings"]["images"] == 4
    assert "mirrored image and noise" in capsys.readouterr().out
