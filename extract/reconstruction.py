"""Reconstruction errors in pixels, to compare LaRE with, as pure functions: no files, no model loading, no settings.

The reconstruction x̂ of an image x is decoded from latents ẑ that come from
- DDIM inversion and sampling: DIRE (Wang et al., "DIRE for Diffusion-Generated Image Detection", ICCV 2023);
- one prediction at one timestep: ẑ_0 of DDPM (Ho et al., NeurIPS 2020, eq. 15);
- the encoder alone: AEROBLADE (Ricker et al., CVPR 2024), here without its perceptual distance.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch.nn.functional as F
from diffusers import DDIMInverseScheduler, DDIMScheduler
from torch import Tensor

from extract.lare import Condition, NoisePredictor, predict_draws
from extract.noising import NoiseLevel


class Ddim(NamedTuple):
    """The two directions of deterministic DDIM over the same timesteps."""

    inverse: Any
    """From clean latents to noise."""
    forward: Any
    """From noise to clean latents."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], num_steps: int) -> "Ddim":
        """Both schedulers, by a model's scheduler configuration.

        Timesteps are spaced "leading": 1, 51, … 951 for 20 steps and Stable Diffusion's offset of 1. It is the only
        spacing under which each step of one direction undoes a step of the other for any number of steps; "linspace"
        has no inverse. Nothing is clipped: latents are not confined to [-1, 1], and schedulers that were saved without
        the setting would clip.

        Raises:
            ValueError: If the model has too few timesteps for so many steps.
        """
        same = {"timestep_spacing": "leading", "clip_sample": False, "thresholding": False}
        forward: Any = DDIMScheduler.from_config(dict(config), **same)  # type: ignore[no-untyped-call]
        inverse: Any = DDIMInverseScheduler.from_config(dict(config), **same)  # type: ignore[no-untyped-call]
        num_timesteps = forward.config.num_train_timesteps
        last = (num_steps - 1) * (num_timesteps // num_steps) + forward.config.steps_offset
        if num_steps > num_timesteps or last >= num_timesteps:
            raise ValueError(f"{num_steps} DDIM steps: the model has {num_timesteps} timesteps, which are too few")
        forward.set_timesteps(num_steps)
        inverse.set_timesteps(num_steps)
        return cls(inverse, forward)

    @property
    def identity(self) -> str:
        """The timesteps, and the noise level that clean latents are taken to have, in words."""
        first, last = self.inverse.timesteps[[0, -1]].tolist()
        start = "1" if self.inverse.config.set_alpha_to_one else "that of timestep 0"
        return f"DDIM, timesteps {first} to {last}, alpha_cumprod of clean latents {start}"


class Denoiser(NoisePredictor, Protocol):
    """What a reconstruction from one prediction needs of a diffusion model."""

    def denoise(self, noisy_latents: Tensor, prediction: Tensor, level: NoiseLevel) -> Tensor:
        """The clean latents ẑ_0 that a prediction implies, of the latents' shape, float32."""


def reconstruct_by_ddim(model: NoisePredictor, ddim: Ddim, latents: Tensor, condition: Condition | None) -> Tensor:
    """Invert latents to noise and sample them back, without guidance (DIRE).

    A step of the inversion uses the prediction at the noise level that it starts from and the timestep that it goes to.

    Args:
        model: Called once a step, twice the number of steps in all.
        ddim: Schedulers with their timesteps.
        latents: Scaled latents z_0, (b, c, h, w), float32.
        condition: Of the images; None for a model without condition.

    Returns:
        Reconstructed latents, (b, c, h, w), float32.
    """
    for scheduler in ddim:
        for timestep in scheduler.timesteps.tolist():
            prediction = model.predict(latents, model.noise_level(timestep), condition)
            latents = scheduler.step(prediction, timestep, latents).prev_sample
    return latents


def denoise_in_one_step(
    model: Denoiser, latents: Tensor, noise: Tensor, at: float, condition: Condition | None = None
) -> Tensor:
    """The clean latents that one prediction a draw implies.

    Args:
        model: The diffusion model.
        latents: Scaled latents z_0, (b, c, h, w).
        noise: ε, (b, draw, c, h, w), unit variance.
        at: The noise level: an index into the model's training timesteps, or flow matching's σ.
        condition: Of the images; None for a model without condition.

    Returns:
        ẑ_0 of each draw, (b, draw, c, h, w), float32.

    Raises:
        ValueError: As `extract.lare.squared_errors`.
    """
    draws = predict_draws(model, latents, noise, at, condition)
    return model.denoise(draws.noisy_latents, draws.prediction, draws.level).reshape(noise.shape)


def cell_errors(images: Tensor, reconstructions: Tensor, stride: int) -> Tensor:
    """Mean absolute difference of the pixels of each latent cell, by colour.

    Args:
        images: x, (b, 3, S, S), float32 in [-1, 1].
        reconstructions: x̂, of the same shape and scale.
        stride: Side of a latent cell in px.

    Returns:
        (b, 3, S / stride, S / stride), float32 in [0, 2].

    Raises:
        ValueError: If the shapes differ.
    """
    if images.shape != reconstructions.shape:
        raise ValueError(f"the decoder returns {tuple(reconstructions.shape)} for images {tuple(images.shape)}")
    return F.avg_pool2d((images - reconstructions).abs(), stride)
