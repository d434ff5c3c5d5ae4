"""How clean latents become noisy ones: DDPM's schedule, or flow matching's straight line. Pure arithmetic."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction")
_REFERENCE_BETAS = (0.00085, 0.012, 1000)
"""First and last β, and length, of Stable Diffusion 1.5's schedule, whose square roots lie on a line."""


class NoiseLevel(NamedTuple):
    """How much noise latents get: noisy latents are signal · z_0 + sigma · ε."""

    timestep: int | float
    """What the network is told: an index into DDPM's training timesteps, or flow matching's σ times their number."""
    signal: Tensor
    """sqrt(ᾱ_t), or 1 − σ; a float32 scalar."""
    sigma: Tensor
    """sqrt(1 − ᾱ_t), or σ; a float32 scalar."""


class Noising(Protocol):
    """A way from clean latents to noise, and what a network on it predicts."""

    @property
    def predicts_epsilon(self) -> bool:
        """Whether the network predicts the noise itself."""

    def noise_level(self, at: float) -> NoiseLevel:
        """The noise level at a timestep or σ.

        Raises:
            ValueError: If there is none.
        """

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """What a perfect network would predict, of the latents' shape, float32."""

    def denoise(self, noisy_latents: Tensor, prediction: Tensor, level: NoiseLevel) -> Tensor:
        """The clean latents that a prediction implies, of the latents' shape, float32."""


@dataclass(frozen=True)
class DdpmNoising:
    """DDPM's schedule (Ho et al., NeurIPS 2020), for ε or the velocity v = signal · ε − sigma · z_0."""

    scheduler: Any
    """`DDPMScheduler` with prediction type `epsilon` or `v_prediction`."""

    @property
    def predicts_epsilon(self) -> bool:
        """Whether the network predicts ε."""
        return bool(self.scheduler.config.prediction_type == "epsilon")

    def noise_level(self, at: float) -> NoiseLevel:
        """The noise level of a timestep.

        Raises:
            ValueError: If it is outside the schedule, or the prediction type is another one.
        """
        config = self.scheduler.config
        if not 0 <= at < config.num_train_timesteps or at != int(at):
            raise ValueError(f"timestep is {at}: expected 0 … {config.num_train_timesteps - 1}")
        if config.prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction type is {config.prediction_type!r}: expected one of {PREDICTION_TYPES}")
        alpha = self.scheduler.alphas_cumprod[int(at)].float()  # a tensor: a number would make a GPU wait
        return NoiseLevel(int(at), alpha.sqrt(), (1 - alpha).sqrt())

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """ε, or v where the network predicts that."""
        return noise if self.predicts_epsilon else level.signal * noise - level.sigma * latents

    def denoise(self, noisy_latents: Tensor, prediction: Tensor, level: NoiseLevel) -> Tensor:
        """ẑ_0 = (z_t − sigma · ε_θ) / signal, or signal · z_t − sigma · v_θ where the network predicts v."""
        if self.predicts_epsilon:
            return (noisy_latents - level.sigma * prediction) / level.signal
        return level.signal * noisy_latents - level.sigma * prediction

    def nearest_timestep(self, alpha: float) -> int:
        """The timestep whose log signal-to-noise ratio is nearest to that of ᾱ; the earlier one of two."""
        alphas = self.scheduler.alphas_cumprod.double().clamp(1e-12, 1 - 1e-12)
        wanted = torch.tensor(alpha, dtype=torch.float64)
        return int((alphas.logit() - wanted.logit()).abs().argmin())


@dataclass(frozen=True)
class FlowNoising:
    """Flow matching on a straight line (Lipman et al., ICLR 2023): z_σ = (1 − σ) · z_0 + σ · ε, target ε − z_0.

    σ is set directly. Samplers of such models also shift their σ by image size: that only says where they step.
    """

    num_train_timesteps: int = 1000
    """What the network is told at σ = 1."""
    predicts_epsilon: bool = False

    def noise_level(self, at: float) -> NoiseLevel:
        """The noise level of a σ.

        Raises:
            ValueError: If it is not between 0 and 1.
        """
        if not 0 < at < 1:
            raise ValueError(f"sigma is {at}: expected a number between 0 and 1")
        sigma = torch.tensor(at, dtype=torch.float64)
        return NoiseLevel(at * self.num_train_timesteps, (1 - sigma).float(), sigma.float())

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """The velocity from latents to noise."""
        return noise - latents

    def denoise(self, noisy_latents: Tensor, prediction: Tensor, level: NoiseLevel) -> Tensor:
        """ẑ_0 = z_σ − σ · u_θ."""
        return noisy_latents - level.sigma * prediction


def to_epsilon_space(errors: Tensor, noising: Noising, at: float) -> Tensor:
    """Squared errors of a model's own target as those of the noise that its predictions imply.

    ε − ε̂ is signal · (v − v̂) for a velocity of DDPM, and (1 − σ) · (u − û) for flow matching's.
    """
    return errors if noising.predicts_epsilon else errors * noising.noise_level(at).signal.square()


def reference_alpha(timestep: int) -> float:
    """ᾱ of Stable Diffusion 1.5 at a timestep: 0.7537 at 200.

    Raises:
        ValueError: If its schedule has no such timestep.
    """
    first, last, length = _REFERENCE_BETAS
    if not 0 <= timestep < length:
        raise ValueError(f"timestep is {timestep}: Stable Diffusion 1.5, whose noise is meant, has 0 … {length - 1}")
    betas = torch.linspace(first**0.5, last**0.5, length, dtype=torch.float64) ** 2
    return float((1 - betas[: timestep + 1]).prod())


def sigma_of_alpha(alpha: float) -> float:
    """Flow matching's σ at the signal-to-noise ratio of ᾱ: (1 − σ) / σ = sqrt(ᾱ / (1 − ᾱ))."""
    noise, signal = (1 - alpha) ** 0.5, alpha**0.5
    return float(noise / (signal + noise))
