"""What is stored of an image: LaRE, or another reconstruction error to compare it with; an object each."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from extract.config import ExtractConfig, MethodName, Variant
from extract.models.folder import ModelFolder
from extract.models.stable_diffusion import Diffusion, average_draws, count_unet_calls
from extract.noise import NOISE_RULE, noise_probe
from extract.reconstruction import Ddim, cell_errors

ERROR_RULE = "mean absolute error of RGB in [-1, 1] per latent cell, reconstruction clamped"
"""What the methods that reconstruct pixels store."""


class Inputs(NamedTuple):
    """A batch of images with all that their maps are made from, on the models' device."""

    images: Tensor
    """(b, 3, S, S), float32 in [-1, 1]."""
    posterior_noise: Tensor
    """(b, c, h, w), float32."""
    noise: Tensor
    """(b, draw, c, h, w), float32, with as many draws as the largest variant averages."""
    prompt_embeds: Tensor | None
    """(b, tokens, dim), or None for a model without text condition."""


class Calls(NamedTuple):
    """Calls of the models for one image, besides the encoder's one."""

    unet: int
    decoder: int


@dataclass(frozen=True)
class Method(ABC):
    """One kind of map, with the settings and the model that it is made by."""

    config: ExtractConfig
    folder: ModelFolder

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(channel, h, w) of a map: red, green and blue on the latents' grid."""
        _, height, width = self.folder.latent_shape(self.config.image_size)
        return 3, height, width

    @abstractmethod
    def count_calls(self) -> Calls:
        """Calls for one image, all variants together."""

    @abstractmethod
    def identity(self, variant: Variant) -> dict[str, int | str]:
        """The method's own fingerprint fields, besides those of model, canvas and storage."""

    @abstractmethod
    def compute_maps(self, diffusion: Diffusion, inputs: Inputs, variants: Sequence[Variant]) -> Tensor:
        """Maps of a batch, (variant, b, *map_shape), float32."""

    def _latent_rule(self, of_posterior: str) -> str:
        return f"posterior {of_posterior}" if self.folder.vae.class_name == "AutoencoderKL" else "deterministic"


class _Noised(Method):
    """A method that noises a sample of the posterior."""

    def identity(self, variant: Variant) -> dict[str, int | str]:
        """Timestep, draws and noise."""
        return {
            "timestep": variant.timestep,
            "ensemble_size": variant.ensemble_size,
            "noise_seed": self.config.noise_seed,
            "noise_rule": f"philox {NOISE_RULE}",
            "noise_probe_sha256": noise_probe(),
            "latent_rule": self._latent_rule("sample"),
        }


class Lare(_Noised):
    """Squared error of the noise prediction (LaRE², eq. 5 to 7); a map has the latents' channels."""

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(channel, h, w) of a map, which are the latents'."""
        return self.folder.latent_shape(self.config.image_size)

    def count_calls(self) -> Calls:
        """One UNet call a draw."""
        return Calls(count_unet_calls(self.config.variants), 0)

    def compute_maps(self, diffusion: Diffusion, inputs: Inputs, variants: Sequence[Variant]) -> Tensor:
        """LaRE maps."""
        images, posterior_noise, noise, prompt_embeds = inputs
        return diffusion.compute_maps(images, posterior_noise, noise, variants, prompt_embeds)


class OneStep(_Noised):
    """Error of the image that one prediction implies, averaged over the draws, which are LaRE's."""

    def count_calls(self) -> Calls:
        """One call of UNet and decoder a draw."""
        num_draws = count_unet_calls(self.config.variants)
        return Calls(num_draws, num_draws)

    def identity(self, variant: Variant) -> dict[str, int | str]:
        """As LaRE's, and what the error is."""
        return {**super().identity(variant), "error_rule": ERROR_RULE}

    def compute_maps(self, diffusion: Diffusion, inputs: Inputs, variants: Sequence[Variant]) -> Tensor:
        """Mean over the draws of the error of each draw's image."""
        latents = diffusion.encode_images(inputs.images, inputs.posterior_noise)

        def errors_of(timestep: int, num_draws: int) -> Tensor:
            noise = inputs.noise[:, :num_draws]
            denoised = diffusion.denoise_in_one_step(latents, noise, timestep, inputs.prompt_embeds)
            # One draw at a time: for a pixel image the decoder needs far more memory than the UNet.
            return torch.stack([_errors(diffusion, inputs.images, draw) for draw in denoised.unbind(dim=1)], dim=1)

        return average_draws(variants, errors_of)


class RoundTrip(Method):
    """Error of the image that the autoencoder alone gives back (AEROBLADE, without its perceptual distance)."""

    def count_calls(self) -> Calls:
        """The decoder once."""
        return Calls(0, 1)

    def identity(self, variant: Variant) -> dict[str, int | str]:
        """What is encoded, and what the error is."""
        return {"latent_rule": self._latent_rule("mean"), "error_rule": ERROR_RULE}

    def compute_maps(self, diffusion: Diffusion, inputs: Inputs, variants: Sequence[Variant]) -> Tensor:
        """Error of the decoded latents."""
        return _errors(diffusion, inputs.images, diffusion.encode_images(inputs.images, None))[None]


class Dire(RoundTrip):
    """Error of the image that DDIM inversion and sampling give back between encoder and decoder (DIRE)."""

    def __post_init__(self) -> None:
        """Make the schedulers, which may refuse the number of steps."""
        _ = self.ddim

    @cached_property
    def ddim(self) -> Ddim:
        """Schedulers of both directions."""
        return Ddim.from_config(self.folder.scheduler_config, self.config.inversion_steps)

    def count_calls(self) -> Calls:
        """The UNet once a step and direction, the decoder once."""
        return Calls(2 * self.config.inversion_steps, 1)

    def identity(self, variant: Variant) -> dict[str, int | str]:
        """As the round trip's, and how latents are inverted."""
        return {
            **super().identity(variant),
            "inversion_steps": self.config.inversion_steps,
            "inversion_rule": self.ddim.identity,
        }

    def compute_maps(self, diffusion: Diffusion, inputs: Inputs, variants: Sequence[Variant]) -> Tensor:
        """Error of the reconstructed latents, decoded."""
        latents = diffusion.encode_images(inputs.images, None)
        reconstructed = diffusion.reconstruct_by_ddim(latents, self.ddim, inputs.prompt_embeds)
        return _errors(diffusion, inputs.images, reconstructed)[None]


METHODS: dict[MethodName, type[Method]] = {"lare": Lare, "dire": Dire, "one_step": OneStep, "roundtrip": RoundTrip}


def make_method(config: ExtractConfig, folder: ModelFolder) -> Method:
    """The method of a run.

    Raises:
        ValueError: If `inversion_steps` does not fit the model's schedule.
    """
    return METHODS[config.method](config, folder)


def _errors(diffusion: Diffusion, images: Tensor, latents: Tensor) -> Tensor:
    """Errors of the images that latents decode to, (b, 3, h, w)."""
    return cell_errors(images, diffusion.decode_latents(latents), images.shape[-1] // latents.shape[-1])
