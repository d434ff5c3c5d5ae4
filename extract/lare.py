"""The paper's arithmetic as pure functions: no files, no model loading, no settings."""

from typing import Any

import torch
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction")


def reconstruction_error(
    unet: Any, scheduler: Any, latents: Tensor, noise: Tensor, timestep: int, prompt_embeds: Tensor | None = None
) -> Tensor:
    """Squared error of one prediction a draw at one timestep (LaRE², eq. 5 and 6).

    The latents are noised by the scheduler, z_t = sqrt(ᾱ_t) z_0 + sqrt(1 − ᾱ_t) ε, and the UNet predicts in its own
    space: ε, or the velocity v = sqrt(ᾱ_t) ε − sqrt(1 − ᾱ_t) z_0, whose error is the ε error divided by sqrt(ᾱ_t).
    Noising and error are float32; the UNet works in its own dtype on one batch of all draws.

    Args:
        unet: `UNet2DModel` or `UNet2DConditionModel`.
        scheduler: `DDPMScheduler` with prediction type `epsilon` or `v_prediction`.
        latents: Scaled latents z_0, (b, c, h, w).
        noise: ε, (b, draw, c, h, w), unit variance.
        timestep: Index into the scheduler's training timesteps.
        prompt_embeds: Text condition, (b, tokens, dim); None for a `UNet2DModel`.

    Returns:
        Squared errors, (b, draw, c, h, w), float32, ≥ 0.

    Raises:
        ValueError: If shapes do not fit, the timestep is outside the schedule, or the prediction type is another one.
    """
    _check(scheduler, latents, noise, timestep, prompt_embeds)
    num_draws = noise.shape[1]
    flat_noise = noise.flatten(0, 1).float()
    flat_latents = latents.float().repeat_interleave(num_draws, dim=0)
    timesteps = torch.full((len(flat_noise),), timestep, dtype=torch.long, device=latents.device)
    noisy_latents = scheduler.add_noise(flat_latents, flat_noise, timesteps)

    condition = () if prompt_embeds is None else (prompt_embeds.to(unet.dtype).repeat_interleave(num_draws, dim=0),)
    prediction: Tensor = unet(noisy_latents.to(unet.dtype), timesteps, *condition).sample.float()

    if scheduler.config.prediction_type == "epsilon":
        target: Tensor = flat_noise
    else:
        target = scheduler.get_velocity(flat_latents, flat_noise, timesteps)
    if prediction.shape != target.shape:
        raise ValueError(f"the UNet returns {tuple(prediction.shape)} for noise of shape {tuple(target.shape)}")
    return (target - prediction).square().reshape(noise.shape)


def _check(scheduler: Any, latents: Tensor, noise: Tensor, timestep: int, prompt_embeds: Tensor | None) -> None:
    if noise.ndim != 5 or noise.shape[:1] + noise.shape[2:] != latents.shape:
        raise ValueError(
            f"noise is {tuple(noise.shape)} for latents {tuple(latents.shape)}: "
            "expected (b, draw, c, h, w) for (b, c, h, w)"
        )
    if prompt_embeds is not None and (prompt_embeds.ndim != 3 or len(prompt_embeds) != len(latents)):
        raise ValueError(
            f"prompt_embeds is {tuple(prompt_embeds.shape)}: expected ({len(latents)}, tokens, dim), one an image"
        )
    if not 0 <= timestep < scheduler.config.num_train_timesteps:
        raise ValueError(f"timestep is {timestep}: expected 0 … {scheduler.config.num_train_timesteps - 1}")
    if scheduler.config.prediction_type not in PREDICTION_TYPES:
        raise ValueError(f"prediction type is {scheduler.config.prediction_type!r}: expected one of {PREDICTION_TYPES}")


def lare_map(squared_errors: Tensor) -> Tensor:
    """Average the squared errors over the draws (LaRE², eq. 7).

    Args:
        squared_errors: (b, draw, c, h, w), float32.

    Returns:
        LaRE maps, (b, c, h, w), float32, ≥ 0.
    """
    return squared_errors.mean(dim=1)
