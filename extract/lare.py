"""The paper's arithmetic: latents → noise level → noisy latents → prediction → squared error → mean over draws.

Pure functions: no files, no model loading, no settings. Noising and error are float32 for every compute dtype.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from extract.noising import DdpmNoising, NoiseLevel


@dataclass(frozen=True)
class Condition:
    """What a network is told besides noisy latents and their noise level: a row an image, float32."""

    embeds: Tensor
    """A text's tokens, (b, tokens, dim)."""
    pooled: Tensor | None = None
    """The text as one vector, (b, dim), for networks that take it."""
    mask: Tensor | None = None
    """Which tokens are text, (b, tokens): 1, and 0 for padding, for networks that look at it."""

    def map(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        """The same condition with each tensor changed."""
        tensors = (None if tensor is None else change(tensor) for tensor in (self.embeds, self.pooled, self.mask))
        return Condition(*tensors)  # type: ignore[arg-type]

    def for_draws(self, num_rows: int) -> "Condition":
        """The condition of all draws of each image, one after the other, `num_rows` in all."""
        return self.map(lambda tensor: tensor.repeat_interleave(num_rows // len(tensor), dim=0))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in (self.embeds, self.pooled, self.mask) if tensor is not None)

    @classmethod
    def stack(cls, rows: Sequence["Condition"]) -> "Condition":
        """One condition of several, whose tensors have no batch axis."""
        columns = zip(*((row.embeds, row.pooled, row.mask) for row in rows), strict=True)
        return cls(*(None if column[0] is None else torch.stack(column) for column in columns))  # type: ignore[arg-type]


class NoisePredictor(Protocol):
    """What LaRE needs of a diffusion model once images are latents."""

    def noise_level(self, at: float) -> NoiseLevel:
        """The noise level at a timestep, or at flow matching's σ.

        Raises:
            ValueError: If there is none, or the model cannot be used for LaRE.
        """

    def predict(self, noisy_latents: Tensor, level: NoiseLevel, condition: Condition | None) -> Tensor:
        """One call of the network.

        Args:
            noisy_latents: (b · k, c, h, w), float32, the k draws of one image one after the other.
            level: Their noise level.
            condition: Of the b images; None for a model without condition.

        Returns:
            The prediction in the model's own space, of the latents' shape, float32.
        """

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """What a perfect network would predict, of the latents' shape, float32."""


@dataclass(frozen=True)
class UNetPredictor:
    """A UNet under DDPM's noise schedule. It works in its own dtype, on one batch of all draws."""

    unet: Any
    """`UNet2DModel` or `UNet2DConditionModel`."""
    noising: DdpmNoising
    """Its noise schedule, and whether it predicts ε or v."""

    def predict(self, noisy_latents: Tensor, level: NoiseLevel, condition: Condition | None) -> Tensor:
        """One UNet call; arguments and result as in `NoisePredictor.predict`.

        Raises:
            ValueError: If the UNet returns another shape.
        """
        timesteps = torch.full((len(noisy_latents),), level.timestep, dtype=torch.long, device=noisy_latents.device)
        conditions: tuple[Tensor, ...] = ()
        if condition is not None:
            conditions = (condition.for_draws(len(noisy_latents)).embeds.to(self.unet.dtype),)
        prediction: Tensor = self.unet(noisy_latents.to(self.unet.dtype), timesteps, *conditions).sample.float()
        check_prediction(prediction, noisy_latents)
        return prediction

    def noise_level(self, at: float) -> NoiseLevel:
        """The noise level of a timestep; errors as in `DdpmNoising`."""
        return self.noising.noise_level(at)

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """ε, or v where the UNet predicts that."""
        return self.noising.target(latents, noise, level)

    def denoise(self, noisy_latents: Tensor, prediction: Tensor, level: NoiseLevel) -> Tensor:
        """The clean latents that a prediction implies."""
        return self.noising.denoise(noisy_latents, prediction, level)


def check_prediction(prediction: Tensor, noisy_latents: Tensor) -> None:
    """Raise ValueError if a network returned another shape than it was given."""
    if prediction.shape != noisy_latents.shape:
        raise ValueError(f"the UNet returns {tuple(prediction.shape)} for noise of shape {tuple(noisy_latents.shape)}")


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
    condition = None if prompt_embeds is None else Condition(prompt_embeds)
    return squared_errors(UNetPredictor(unet, DdpmNoising(scheduler)), latents, noise, timestep, condition)


def squared_errors(
    model: NoisePredictor, latents: Tensor, noise: Tensor, at: float, condition: Condition | None
) -> Tensor:
    """Squared error of one prediction a draw at one noise level, in the model's own prediction space.

    Args:
        model: The diffusion model.
        latents: Scaled latents z_0, (b, c, h, w).
        noise: ε, (b, draw, c, h, w), unit variance.
        at: The noise level: an index into the model's training timesteps, or flow matching's σ.
        condition: Of the images; None for a model without condition.

    Returns:
        Squared errors, (b, draw, c, h, w), float32, ≥ 0.

    Raises:
        ValueError: If shapes do not fit, or there is no such noise level.
    """
    draws = predict_draws(model, latents, noise, at, condition)
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
    """What the network predicts, of the noise's shape."""


def predict_draws(
    model: NoisePredictor, latents: Tensor, noise: Tensor, at: float, condition: Condition | None
) -> Draws:
    """Noise the latents and predict; arguments and errors as in `squared_errors`."""
    _check_shapes(latents, noise, condition)
    level = model.noise_level(at)
    flat_noise = noise.flatten(0, 1).float()
    flat_latents = latents.float().repeat_interleave(noise.shape[1], dim=0)
    noisy_latents = level.signal * flat_latents + level.sigma * flat_noise
    prediction = model.predict(noisy_latents, level, condition)
    return Draws(level, flat_latents, flat_noise, noisy_latents, prediction)


def _check_shapes(latents: Tensor, noise: Tensor, condition: Condition | None) -> None:
    if noise.ndim != 5 or noise.shape[:1] + noise.shape[2:] != latents.shape:
        raise ValueError(
            f"noise is {tuple(noise.shape)} for latents {tuple(latents.shape)}: "
            "expected (b, draw, c, h, w) for (b, c, h, w)"
        )
    if condition is not None and (condition.embeds.ndim != 3 or len(condition.embeds) != len(latents)):
        raise ValueError(
            f"prompt_embeds is {tuple(condition.embeds.shape)}: expected ({len(latents)}, tokens, dim), one an image"
        )


def lare_map(squared_errors: Tensor) -> Tensor:
    """Average the squared errors over the draws (LaRE², eq. 7).

    Args:
        squared_errors: (b, draw, c, h, w), float32.

    Returns:
        LaRE maps, (b, c, h, w), float32, ≥ 0.
    """
    return squared_errors.mean(dim=1)
