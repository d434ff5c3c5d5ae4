"""The paper's arithmetic as pure functions: no files, no model loading, no settings."""

from typing import Any, NamedTuple

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
    draws = predict_draws(unet, scheduler, latents, noise, timestep, prompt_embeds)
    if scheduler.config.prediction_type == "epsilon":
        target: Tensor = draws.noise
    else:
        target = scheduler.get_velocity(draws.latents, draws.noise, draws.timesteps)
    return (target - draws.prediction).square().reshape(noise.shape)


class Draws(NamedTuple):
    """Noised latents and what the UNet predicts of them, the draws of one image after those of another; float32."""

    latents: Tensor
    """z_0, (b · draw, c, h, w)."""
    noise: Tensor
    """ε, of the same shape."""
    timesteps: Tensor
    """(b · draw,), int64."""
    noisy_latents: Tensor
    """z_t, of the noise's shape."""
    prediction: Tensor
    """ε_θ or v_θ, of the noise's shape."""


def predict_draws(
    unet: Any, scheduler: Any, latents: Tensor, noise: Tensor, timestep: int, prompt_embeds: Tensor | None
) -> Draws:
    """Noise the latents and predict; arguments and errors as in `reconstruction_error`."""
    _check(scheduler, latents, noise, timestep, prompt_embeds)
    flat_noise = noise.flatten(0, 1).float()
    flat_latents = latents.float().repeat_interleave(noise.shape[1], dim=0)
    timesteps = torch.full((len(flat_noise),), timestep, dtype=torch.long, device=latents.device)
    noisy_latents = scheduler.add_noise(flat_latents, flat_noise, timesteps)
    prediction = predict(unet, noisy_latents, timesteps, prompt_embeds)
    return Draws(flat_latents, flat_noise, timesteps, noisy_latents, prediction)


def predict(unet: Any, noisy_latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor | None) -> Tensor:
    """One UNet call, in the UNet's own dtype.

    Args:
        unet: `UNet2DModel` or `UNet2DConditionModel`.
        noisy_latents: (b · k, c, h, w), the k of one image one after the other.
        timesteps: (b · k,), int64.
        prompt_embeds: (b, tokens, dim), or None.

    Returns:
        The prediction, of the latents' shape, float32.

    Raises:
        ValueError: If the UNet returns another shape.
    """
    condition: tuple[Tensor, ...] = ()
    if prompt_embeds is not None:
        num_draws = len(noisy_latents) // len(prompt_embeds)
        condition = (prompt_embeds.to(unet.dtype).repeat_interleave(num_draws, dim=0),)
    prediction: Tensor = unet(noisy_latents.to(unet.dtype), timesteps, *condition).sample.float()
    if prediction.shape != noisy_latents.shape:
        raise ValueError(f"the UNet returns {tuple(prediction.shape)} for noise of shape {tuple(noisy_latents.shape)}")
    return prediction


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
