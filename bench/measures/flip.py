"""How nearly the LaRE map of a mirrored image is the mirrored map: `python -m bench.measures.flip`.

Training mirrors stored maps together with their images. A network is not exactly symmetric, so that the map of the
mirrored image would be another one; and the noise, which goes by key, would not be mirrored. The natural scale is what
another noise seed changes.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jsonargparse import auto_cli
from torch import Tensor

from bench.report import write_json
from demo.toy.photos import Tile, load_table, load_tiles
from extract import (
    POSTERIOR_DRAW,
    DiffusionModel,
    ModelFolder,
    StableDiffusion,
    Variant,
    lare_map,
    load_noising,
    sample_draws,
    sample_noise,
    squared_errors,
)

logger = logging.getLogger("bench.measures.flip")
BATCH_SIZE = 32


@dataclass(frozen=True)
class Difference:
    """How far two sets of maps of the same images are apart."""

    of: str
    """What differs."""
    over_mean: float
    """Mean absolute difference of two maps' elements, over the mean of the maps."""
    standard_error: float
    """Of `over_mean`, over images."""
    mean_over_mean: float
    """Mean absolute difference of two maps' means, over the mean of the maps."""


def compare(of: str, maps: Tensor, others: Tensor) -> Difference:
    """Compare maps (n, c, h, w) with others of the same images."""
    scale = ((maps + others) / 2).mean()
    each = (maps - others).abs().mean(dim=(1, 2, 3)) / scale
    means = (maps - others).mean(dim=(1, 2, 3)).abs().mean() / scale
    return Difference(of, each.mean().item(), (each.std() / len(each) ** 0.5).item(), means.item())


def choose_tiles(num_images: int) -> list[Tile]:
    """Tiles of photographs that the toy model was not trained on, evenly over all of them."""
    tiles = [tile for tile in load_tiles(load_table()) if tile.role != "train"]
    if num_images > len(tiles):
        raise ValueError(f"images is {num_images}: there are {len(tiles)} tiles")
    return [tiles[i] for i in np.linspace(0, len(tiles) - 1, num_images).round().astype(int)]


class Mapper:
    """Computes the maps of mirrored and plain images under any noise.

    Args:
        model: The model.
        shape: (c, h, w) of an image's latents.
        variant: Timestep and ensemble size.
        prompt: The text of every image.
    """

    def __init__(self, model: DiffusionModel, shape: tuple[int, int, int], variant: Variant, prompt: str) -> None:
        self.model, self.shape, self.variant, self.prompt = model, shape, variant, prompt

    def maps(self, tiles: Sequence[Tile], seed: int, *, flip_image: bool = False, flip_noise: bool = False) -> Tensor:
        """Maps of all tiles, (n, c, h, w), float32; those of mirrored images are mirrored back."""
        batches = [tiles[i : i + BATCH_SIZE] for i in range(0, len(tiles), BATCH_SIZE)]
        return torch.cat([self._batch(batch, seed, flip_image, flip_noise) for batch in batches])

    def _batch(self, tiles: Sequence[Tile], seed: int, flip_image: bool, flip_noise: bool) -> Tensor:
        def stack(arrays: list[np.ndarray], flip: bool) -> Tensor:
            stacked = torch.from_numpy(np.stack(arrays)).float()
            return stacked.flip(-1) if flip else stacked

        images = stack([tile.pixels.transpose(2, 0, 1) for tile in tiles], flip_image) / 127.5 - 1
        posterior = stack([sample_noise(seed, tile.name, POSTERIOR_DRAW, self.shape) for tile in tiles], flip_noise)
        draws = [sample_draws(seed, tile.name, self.variant.ensemble_size, self.shape) for tile in tiles]
        condition = self.model.condition([self.prompt] * len(tiles))
        latents = self.model.encode(images, posterior)
        errors = squared_errors(self.model, latents, stack(draws, flip_noise), self.variant.timestep, condition)
        maps = lare_map(errors)
        return maps.flip(-1) if flip_image else maps


def compute_differences(mapper: Mapper, tiles: Sequence[Tile]) -> list[Difference]:
    """What mirroring changes in a map, beside what another noise seed changes."""
    plain = mapper.maps(tiles, seed=0)
    others: dict[str, Callable[[], Tensor]] = {
        "mirrored image and noise (the networks' asymmetry)": lambda: mapper.maps(
            tiles, seed=0, flip_image=True, flip_noise=True
        ),
        "mirrored image, noise by key (what extraction would give)": lambda: mapper.maps(
            tiles, seed=0, flip_image=True
        ),
        "another noise seed, same image (the natural scale)": lambda: mapper.maps(tiles, seed=1),
    }
    return [compare(of, plain, maps()) for of, maps in others.items()]


def measure_flip(
    model: str = "demo/models/toy-a",
    images: int = 256,
    timestep: int = 200,
    ensemble_size: int = 4,
    prompt: str = "a photo",
    device: Literal["cpu", "cuda"] = "cpu",
    out: str = "runs/flip.json",
) -> None:
    """Measure how nearly the map of a mirrored image is the mirrored map, on the demo's 64 px photo tiles.

    Args:
        model: Diffusers folder; its UNet and autoencoder must take 64 px images.
        images: Number of tiles, from photographs that the toy model was not trained on.
        timestep: Scheduler index.
        ensemble_size: Noise draws an image.
        prompt: The text of every image.
        device: Where it runs.
        out: JSON file to write.
    """
    tiles = choose_tiles(images)
    folder = ModelFolder.open(model)
    diffusion = StableDiffusion(folder, load_noising(folder, [timestep]), "fp32", torch.device(device))
    shape = folder.latent_shape(tiles[0].pixels.shape[0])
    differences = compute_differences(Mapper(diffusion, shape, Variant(timestep, ensemble_size), prompt), tiles)
    settings = {"model": model, "images": images, "timestep": timestep, "ensemble_size": ensemble_size}
    write_json(Path(out), {"settings": settings, "differences": [vars(d) for d in differences]})
    for d in differences:
        sys.stdout.write(f"{d.of:<58} {d.over_mean:.3f} ± {d.standard_error:.3f}  of the mean {d.mean_over_mean:.4f}\n")


if __name__ == "__main__":
    auto_cli(measure_flip, prog="python -m bench.measures.flip", as_positional=False)
