"""The paper's arithmetic: latents → noise level → noisy latents → prediction → squared error → mean over draws.

Pure functions: no files, no model loading, no settings. Noising and error are float32 for every compute dtype.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction")


class NoiseLevel(NamedTuple):
    """How much noise latents get: z_t = signal · z_0 + sigma · ε."""

    timestep: int
    """Index into the model's training timesteps, an input of the network."""
    signal: Tensor
    """sqrt(ᾱ_t), a float32 scalar."""
    sigma: Tensor
    """sqrt(1 − ᾱ_t), a float32 scalar."""


class NoisePredictor(Protocol):
    """What LaRE needs of a diffusion model once images are latents."""

    def noise_level(self, timestep: int) -> NoiseLevel:
        """The noise level of a timestep.

        Raises:
            ValueError: If the timestep is outside the schedule, or the model cannot be used for LaRE.
        """

    def predict(self, noisy_latents: Tensor, level: NoiseLevel, condition: Tensor | None) -> Tensor:
        """One call of the network.

        Args:
            noisy_latents: (b · k, c, h, w), float32, the k draws of one image one after the other.
            level: Their noise level.
            condition: (b, tokens, dim), or None for a model without text condition.

        Returns:
            The prediction in the model's own space, of the latents' shape, float32.
        """

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """What a perfect network would predict, of the latents' shape, float32."""


@dataclass(frozen=True)
class UNetPredictor:
    """A UNet under DDPM's noise schedule, which predicts ε or the velocity v = signal · ε − sigma · z_0.

    The v error is the ε error divided by signal. The UNet works in its own dtype, on one batch of all draws.
    """

    unet: Any
    """`UNet2DModel` or `UNet2DConditionModel`."""
    scheduler: Any
    """`DDPMScheduler` with prediction type `epsilon` or `v_prediction`."""

    @property
    def is_epsilon(self) -> bool:
        """Whether the UNet predicts ε."""
        return bool(self.scheduler.config.prediction_type == "epsilon")

    def noise_level(self, timestep: int) -> NoiseLevel:
        """The noise level of a timestep.

        Raises:
            ValueError: If the timestep is outside the schedule, or the prediction type is another one.
        """
        config = self.scheduler.config
        if not 0 <= timestep < config.num_train_timesteps:
            raise ValueError(f"timestep is {timestep}: expected 0 … {config.num_train_timesteps - 1}")
        if config.prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction type is {config.prediction_type!r}: expected one of {PREDICTION_TYPES}")
        alpha = self.scheduler.alphas_cumprod[timestep].float()  # a tensor: a number would make a GPU wait
        return NoiseLevel(timestep, alpha.sqrt(), (1 - alpha).sqrt())

    def predict(self, noisy_latents: Tensor, level: NoiseLevel, condition: Tensor | None) -> Tensor:
        """One UNet call; arguments and result as in `NoisePredictor.predict`.

        Raises:
            ValueError: If the UNet returns another shape.
        """
        timesteps = torch.full((len(noisy_latents),), level.timestep, dtype=torch.long, device=noisy_latents.device)
        conditions: tuple[Tensor, ...] = ()
        if condition is not None:
            num_draws = len(noisy_latents) // len(condition)
            conditions = (condition.to(self.unet.dtype).repeat_interleave(num_draws, dim=0),)
        prediction: Tensor = self.unet(noisy_latents.to(self.unet.dtype), timesteps, *conditions).sample.float()
        if prediction.shape != noisy_latents.shape:
            raise ValueError(
                f"the UNet returns {tuple(prediction.shape)} for noise of shape {tuple(noisy_latents.shape)}"
            )
        return prediction

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """ε, or v where the UNet predicts that."""
        return noise if self.is_epsilon else level.signal * noise - level.sigma * latents

    def denoise(self, noisy_latents: Tensor, prediction: Tensor, level: NoiseLevel) -> Tensor:
        """The clean latents that a prediction implies.

        ẑ_0 = (z_t − sigma · ε_θ) / signal, or signal · z_t − sigma · v_θ where the UNet predicts v.
        """
        if self.is_epsilon:
            return (noisy_latents - level.sigma * prediction) / level.signal
        return level.signal * noisy_latents - level.sigma * prediction


def reconstruction_error(
    unet: Any, scheduler: Any, latents: Tensor, noise: Tensor, timestep: int, prompt_embeds: Tensor | None = None
) -> Tensor:
    """`squared_errors` of a UNet under a noise schedule (LaRE², eq. 5 and 6).

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
    return squared_errors(UNetPredictor(unet, scheduler), latents, noise, timestep, prompt_embeds)


def squared_errors(
    model: NoisePredictor, latents: Tensor, noise: Tensor, timestep: int, condition: Tensor | None
) -> Tensor:
    """Squared error of one prediction a draw at one timestep, in the model's own prediction space.

    Args:
        model: The diffusion model.
        latents: Scaled latents z_0, (b, c, h, w).
        noise: ε, (b, draw, c, h, w), unit variance.
        timestep: Index into the model's training timesteps.
        condition: (b, tokens, dim); None for a model without text condition.

    Returns:
        Squared errors, (b, draw, c, h, w), float32, ≥ 0.

    Raises:
        ValueError: If shapes do not fit, or the timestep is outside the schedule.
    """
    draws = predict_draws(model, latents, noise, timestep, condition)
    target = model.target(draws.latents, draws.noise, draws.level)
    return (target - draws.prediction).square().reshape(noise.shape)


class Draws(NamedTuple):
    """Noised latents and what the model predicts of them, the draws of one image after those of another; float32."""

    level: NoiseLevel
    """Noise level of all draws."""
    latents: Tensor
    """z_0, (b · draw, c, h, w)."""
    noise: Tensor
    """ε, of the same shape."""
    noisy_latents: Tensor
    """z_t, of the noise's shape."""
    prediction: Tensor
    """ε_θ or v_θ, of the noise's shape."""


def predict_draws(
    model: NoisePredictor, latents: Tensor, noise: Tensor, timestep: int, condition: Tensor | None
) -> Draws:
    """Noise the latents and predict; arguments and errors as in `squared_errors`."""
    _check_shapes(latents, noise, condition)
    level = model.noise_level(timestep)
    flat_noise = noise.flatten(0, 1).float()
    flat_latents = latents.float().repeat_interleave(noise.shape[1], dim=0)
    noisy_latents = level.signal * flat_latents + level.sigma * flat_noise
    prediction = model.predict(noisy_latents, level, condition)
    return Draws(level, flat_latents, flat_noise, noisy_latents, prediction)


def _check_shapes(latents: Tensor, noise: Tensor, condition: Tensor | None) -> None:
    if noise.ndim != 5 or noise.shape[:1] + noise.shape[2:] != latents.shape:
        raise ValueError(
            f"noise is {tuple(noise.shape)} for latents {tuple(latents.shape)}: "
            "expected (b, draw, c, h, w) for (b, c, h, w)"
        )
    if condition is not None and (condition.ndim != 3 or len(condition) != len(latents)):
        raise ValueError(
            f"prompt_embeds is {tuple(condition.shape)}: expected ({len(latents)}, tokens, dim), one an image"
        )


def lare_map(squared_errors: Tensor) -> Tensor:
    """Average the squared errors over the draws (LaRE², eq. 7).

    Args:
        squared_errors: (b, draw, c, h, w), float32.

    Returns:
        LaRE maps, (b, c, h, w), float32, ≥ 0.
    """
    return squared_errors.mean(dim=1)
