"""What a diffusion model must offer, so that the methods can make their maps of it."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from extract.lare import Condition
from extract.noising import Noising
from extract.reconstruction import Denoiser


class DiffusionModel(Denoiser, Protocol):
    """A loaded model: images to latents and back, texts to conditions, and predictions of noised latents.

    It knows nothing of draws, maps and averages: noising, noise, squared error and mean are written once, in
    `extract.lare`. `noise_level`, `predict`, `target` and `denoise` are described in `extract.lare` and
    `extract.reconstruction`.
    """

    @property
    def device(self) -> torch.device:
        """Where it runs, and where it takes its arguments."""

    @property
    def in_fp32(self) -> "DiffusionModel":
        """The same model in fp32, for images whose map is not finite."""

    def compile(self) -> None:
        """Have the networks compiled at their next call."""

    def encode(self, images: Tensor, posterior_noise: Tensor | None) -> Tensor:
        """Images to scaled latents.

        Args:
            images: (b, 3, S, S), float32 in [-1, 1].
            posterior_noise: (b, c, h, w), float32, unit variance; None for the posterior's mean.

        Returns:
            Latents, (b, c, h, w), float32.
        """

    @property
    def noising(self) -> Noising:
        """How its latents are noised."""

    def condition(self, prompts: Sequence[str]) -> Condition | None:
        """Texts to the network's conditions; None for a model without text."""

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to images, (b, 3, S, S), float32 in [-1, 1]; NaN all over where anything is not finite."""
