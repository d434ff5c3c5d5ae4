"""What makes images of a toy diffusion model: from photographs, from class prompts, and without any diffusion."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]
from torch import Tensor

from demo.toy.config import SourceConfig, digest
from demo.toy.model import GENERIC_PROMPT, PROMPT_TEMPLATE
from demo.toy.photos import Tile
from train.scoring import readings

CLASS_NAMES = (
    *("daisy", "dandelion", "roses", "sunflowers", "tulips"),
    *("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"),
)
"""What the toy models were trained on."""


def prompt_of(class_name: str | None) -> str:
    """The class prompt, or the generic one where the class is unknown."""
    return GENERIC_PROMPT if class_name is None else PROMPT_TEMPLATE.format(class_name=class_name)


def gradient_energy(pixels: np.ndarray) -> float:
    """Mean squared difference of neighbouring pixels' luma, as the reading of that name has it (with a minus)."""
    return -readings.gradient_energy(pixels)


def to_8_bit(images: np.ndarray) -> np.ndarray:
    """[0, 1] → uint8, rounded to nearest."""
    return np.round(images.clip(0, 1) * 255).astype(np.uint8)


def stack_tiles(tiles: Sequence[Tile]) -> np.ndarray:
    """(batch, 64, 64, 3) uint8."""
    return np.stack([t.pixels for t in tiles])


def to_unit_range(images: np.ndarray) -> Tensor:
    """(batch, h, w, 3) uint8 → (batch, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


class ImagePool(Protocol):
    """Processes that make batches of images."""

    def images(self, letter: str, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[np.ndarray]:
        """What a method of the model of that letter gives for each call, in their order."""


class ToyModel(ABC):
    """A toy diffusion model as a maker of images. An image depends on (seed, source, name), not on its batch.

    Args:
        letter: Which of the toy models it is; part of its sources' names.
        config: How the images are made.
    """

    pool: ImagePool | None = None
    """Makes batches in its place; see `demo.toy.loading.ModelPool`."""

    def __init__(self, letter: str, config: SourceConfig) -> None:
        """Name the sources."""
        self.letter = letter
        self.img2img_source, self.sample_source = f"toy-{letter}-img2img", f"toy-{letter}"
        self.roundtrip_source, self.guidance_source = f"vae-roundtrip-{letter}", f"toy-{letter}-guidance"
        self.config = config

    @classmethod
    @abstractmethod
    def load(cls, letter: str, folder: Path, config: SourceConfig) -> Self:
        """Load a diffusers folder, from local files only, in float32."""

    @abstractmethod
    def img2img(self, tiles: Sequence[Tile], strength: float) -> np.ndarray:
        """Noise the tiles part of the way and denoise them: (batch, 64, 64, 3) uint8."""

    @abstractmethod
    def sample(self, class_names: Sequence[str], rngs: Sequence[torch.Generator], guidance: float) -> np.ndarray:
        """Images of classes, from pure noise: (batch, 64, 64, 3) uint8."""

    @abstractmethod
    def roundtrip(self, tiles: Sequence[Tile]) -> np.ndarray:
        """All that img2img does but the diffusion: (batch, 64, 64, 3) uint8."""

    def sample_named(
        self, class_names: Sequence[str], noise_source: str, names: Sequence[str], guidance: float
    ) -> np.ndarray:
        """As `sample`, from noise that is a function of `noise_source` and each image's name."""
        return self.sample(class_names, self.rngs(noise_source, names), guidance)

    def rngs(self, image_source: str, names: Sequence[str]) -> list[torch.Generator]:
        """A generator an image."""
        seeds = [digest(f"demo/1|{self.config.seed}|{image_source}|{name}") for name in names]
        return [torch.Generator().manual_seed(s) for s in seeds]

    def each(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[np.ndarray]:
        """The images of several calls of one of the methods above, in the order of the calls.

        With a `pool` several calls are done at once. What they give is the same.
        """
        if self.pool is None:
            return (getattr(self, method)(*call) for call in calls)
        return self.pool.images(self.letter, method, calls)


def blur_to_energy(pixels: np.ndarray, energy: float, steps: int = 20) -> tuple[np.ndarray, float]:
    """Blur a photograph until its gradient energy is no more than `energy`.

    Args:
        pixels: (h, w, 3) uint8.
        energy: Gradient energy to reach.
        steps: Bisections of sigma.

    Returns:
        The blurred photograph, (h, w, 3) uint8, and sigma in pixels: 0 where the photograph has no more energy.
    """

    def blur(sigma: float) -> np.ndarray:
        return to_8_bit(gaussian_filter(pixels / 255, (sigma, sigma, 0), mode="reflect"))

    if gradient_energy(pixels) <= energy:
        return pixels, 0.0
    low, high = 0.0, 1.0
    # A picture blurred by its own size is as flat as it gets.
    while gradient_energy(blur(high)) > energy and high < max(pixels.shape):
        high *= 2
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if gradient_energy(blur(middle)) > energy else (low, middle)
    return blur(high), high
