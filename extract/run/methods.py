"""What is stored of an image: LaRE, or another reconstruction error to compare it with; an object each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from extract.config import ExtractConfig
from extract.lare import Condition, lare_map, squared_errors
from extract.models.base import DiffusionModel
from extract.models.folder import ModelFolder
from extract.models.kinds import KINDS
from extract.needs import MethodName
from extract.noise import NOISE_RULE, noise_probe
from extract.noising import to_epsilon_space
from extract.reconstruction import Ddim, cell_errors, denoise_in_one_step, reconstruct_by_ddim
from extract.variants import SIGMA_DECIMALS, Variant

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
    condition: Condition | None
    """Of the images, or None for a model without text."""


class Calls(NamedTuple):
    """Calls of the networks for one image, besides the encoder's one."""

    unet: int
    decoder: int


@dataclass(frozen=True)
class Method(ABC):
    """One kind of map, with the settings and the model that it is made by."""

    config: ExtractConfig
    folder: ModelFolder

    def __post_init__(self) -> None:  # noqa: B027 (here, or those of the methods would not be called)
        """Check that the method can be used with the model and settings."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channel, h, w) of an image's latents."""
        return self.folder.latent_shape(self.config.image_size)

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(channel, h, w) of a map: red, green and blue on the latents' grid, or a coarser one."""
        _, height, width = self.latent_shape
        return 3, height // self.cell, width // self.cell

    @property
    def cell(self) -> int:
        """Side of the squares of latents over which a map is averaged."""
        return self.config.map_cell or 1

    @property
    def _cell_identity(self) -> dict[str, int | str]:
        return {} if self.cell == 1 else {"map_cell": self.cell}

    @property
    @abstractmethod
    def work(self) -> str:
        """What is done with an image, in a few words: "e = 4" for LaRE."""

    @abstractmethod
    def count_calls(self) -> Calls:
        """Calls for one image, all variants together."""

    @abstractmethod
    def identity(self, variant: Variant) -> dict[str, int | str]:
        """The method's own fingerprint fields; model, canvas and storage have theirs elsewhere."""

    @abstractmethod
    def compute_maps(self, model: DiffusionModel, inputs: Inputs, variants: Sequence[Variant]) -> Tensor:
        """Maps of a batch, (variant, b, *map_shape), float32."""

    def _errors(self, model: DiffusionModel, images: Tensor, latents: Tensor) -> Tensor:
        """Errors of the images that latents decode to, (b, 3, h, w)."""
        return cell_errors(images, model.decode(latents), images.shape[-1] // latents.shape[-1] * self.cell)

    def _latent_rule(self, of_posterior: str) -> str:
        if self.folder.vae is None:
            return "pixels"
        return f"posterior {of_posterior}" if KINDS[self.folder.vae.class_name].latents is None else "deterministic"


class _Noised(Method):
    """A method that noises a sample of the posterior, and averages errors over noise draws."""

    @property
    def work(self) -> str:
        """The ensemble sizes."""
        config = self.config
        return f"e = {', '.join(map(str, config.ensemble_sizes or [config.ensemble_size]))}"

    @abstractmethod
    def draw_errors(self, model: DiffusionModel, inputs: Inputs, latents: Tensor, level: float) -> Tensor:
        """Errors of each draw at one noise level, (b, draw, *map_shape), float32.

        Args:
            model: The diffusion model.
            inputs: The images, with the noise of the draws that are wanted.
            latents: The images' latents, (b, c, h, w), float32.
            level: Timestep or σ.
        """

    def compute_maps(self, model: DiffusionModel, inputs: Inputs, variants: Sequence[Variant]) -> Tensor:
        """Mean of the errors over the draws. Images are encoded once."""
        latents = model.encode(inputs.images, inputs.posterior_noise)

        def errors_of(level: float, num_draws: int) -> Tensor:
            return self.draw_errors(model, inputs._replace(noise=inputs.noise[:, :num_draws]), latents, level)

        return average_draws(variants, errors_of)

    def identity(self, variant: Variant) -> dict[str, int | str]:
        """Noise level, draws and noise."""
        sigma = f"{variant.sigma:.{SIGMA_DECIMALS}f}"
        return {
            **({"sigma": sigma} if variant.sigma else {"timestep": variant.timestep}),
            "ensemble_size": variant.ensemble_size,
            "noise_seed": self.config.noise_seed,
            "noise_rule": f"philox {NOISE_RULE}",
            "noise_probe_sha256": noise_probe(),
            "latent_rule": self._latent_rule("sample"),
            **self._cell_identity,
        }


class LareMaps(_Noised):
    """Squared error of the noise prediction (LaRE², eq. 5 to 7); a map has the latents' channels."""

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(channel, h, w) of a map, which are the latents', or their grid divided by the cells."""
        return self.latent_shape[0], *super().map_shape[1:]

    def count_calls(self) -> Calls:
        """One UNet call a draw."""
        return Calls(count_draws(self.config.variants), 0)

    def identity(self, variant: Variant) -> dict[str, int | str]:
        """The noise, and the space of the errors where it is not the model's own."""
        space = self.config.error_space
        return super().identity(variant) | ({} if space == "native" else {"error_space": space})

    def draw_errors(self, model: DiffusionModel, inputs: Inputs, latents: Tensor, level: float) -> Tensor:
        """Squared errors of the predictions."""
        errors = squared_errors(model, latents, inputs.noise, level, inputs.condition)
        if self.config.error_space == "epsilon":
            errors = to_epsilon_space(errors, model.noising, level)
        if self.cell == 1:
            return errors
        return F.avg_pool2d(errors.flatten(0, 1), self.cell).reshape(*errors.shape[:2], *self.map_shape)


class OneStep(_Noised):
    """Error of the image that one prediction implies, averaged over the draws, which are LaRE's."""

    @property
    def work(self) -> str:
        """Its name, and the ensemble sizes."""
        return f"one_step, {super().work}"

    def count_calls(self) -> Calls:
        """One call of UNet and decoder a draw."""
        num_draws = count_draws(self.config.variants)
        return Calls(num_draws, num_draws)

    def identity(self, variant: Variant) -> dict[str, int | str]:
        """As LaRE's, and what the error is."""
        return {**super().identity(variant), "error_rule": ERROR_RULE}

    def draw_errors(self, model: DiffusionModel, inputs: Inputs, latents: Tensor, level: float) -> Tensor:
        """Errors of each draw's image."""
        denoised = denoise_in_one_step(model, latents, inputs.noise, level, inputs.condition)
        # One draw at a time: for a pixel image the decoder needs far more memory than the UNet.
        return torch.stack([self._errors(model, inputs.images, draw) for draw in denoised.unbind(dim=1)], dim=1)


class RoundTrip(Method):
    """Error of the image that the autoencoder alone gives back (AEROBLADE, without its perceptual distance)."""

    @property
    def work(self) -> str:
        """Its name."""
        return "roundtrip"

    def count_calls(self) -> Calls:
        """The decoder once."""
        return Calls(0, 1)

    def identity(self, variant: Variant) -> dict[str, int | str]:
        """What is encoded, and what the error is."""
        return {"latent_rule": self._latent_rule("mean"), "error_rule": ERROR_RULE, **self._cell_identity}

    def compute_maps(self, model: DiffusionModel, inputs: Inputs, variants: Sequence[Variant]) -> Tensor:
        """Error of the decoded latents."""
        return self._errors(model, inputs.images, model.encode(inputs.images, None))[None]


class Dire(RoundTrip):
    """Error of the image that DDIM inversion and sampling give back between encoder and decoder (DIRE)."""

    def __post_init__(self) -> None:
        """Make the schedulers, which may refuse the number of steps."""
        if self.folder.is_flow:
            raise ValueError(f"method is dire: {self.config.model} is a flow matching model, which DDIM cannot invert")
        _ = self.ddim

    @property
    def work(self) -> str:
        """Its name, and the steps of both directions."""
        return f"dire, {self.config.inversion_steps} + {self.config.inversion_steps} steps"

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

    def compute_maps(self, model: DiffusionModel, inputs: Inputs, variants: Sequence[Variant]) -> Tensor:
        """Error of the reconstructed latents, decoded."""
        latents = model.encode(inputs.images, None)
        reconstructed = reconstruct_by_ddim(model, self.ddim, latents, inputs.condition)
        return self._errors(model, inputs.images, reconstructed)[None]


METHODS: dict[MethodName, type[Method]] = {"lare": LareMaps, "dire": Dire, "one_step": OneStep, "roundtrip": RoundTrip}


def make_method(config: ExtractConfig, folder: ModelFolder) -> Method:
    """The method of a run.

    Raises:
        ValueError: If `inversion_steps` does not fit the model's schedule.
    """
    return METHODS[config.method](config, folder)


def sizes_of_levels(variants: Iterable[Variant]) -> dict[float, list[int]]:
    """Noise level → the ensemble sizes wanted there, in the order of the variants."""
    sizes: dict[float, list[int]] = {}
    for variant in variants:
        sizes.setdefault(variant.level, []).append(variant.ensemble_size)
    return sizes


def average_draws(variants: Sequence[Variant], errors_of: Callable[[float, int], Tensor]) -> Tensor:
    """Maps of all variants: at each noise level the smaller ensembles average the first draws of the largest.

    Args:
        variants: What is wanted.
        errors_of: (noise level, number of draws) → errors, (b, draw, c, h, w).

    Returns:
        (variant, b, c, h, w).
    """
    maps: dict[tuple[float, int], Tensor] = {}
    for level, sizes in sizes_of_levels(variants).items():
        errors = errors_of(level, max(sizes))
        maps |= {(level, size): lare_map(errors[:, :size]) for size in sizes}
    return torch.stack([maps[variant.level, variant.ensemble_size] for variant in variants])


def count_draws(variants: Iterable[Variant]) -> int:
    """Draws an image: the largest ensemble at each noise level."""
    return sum(max(sizes) for sizes in sizes_of_levels(variants).values())
