"""A run's model: what is checked before any weight is read, and which weights are then read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch

from cache_schema import Dataset, FingerprintMismatch
from extract.config import ExtractConfig, ModelConfig
from extract.models.base import DiffusionModel
from extract.models.folder import ModelFolder
from extract.models.loading import check_part
from extract.models.prompts import PromptPolicy
from extract.models.registry import load_family
from extract.models.schedule import load_noising, resolve_levels
from extract.models.settings import shown
from extract.needs import Needs
from extract.noising import DdpmNoising, FlowNoising
from extract.run.device import find_device

PIXEL_CELL = 8
"""Side of the squares over which maps of pixels are averaged: a cell of the usual latents."""
DEFAULT_GUIDANCE = 3.5
"""That of Flux.1 dev's own pipeline."""
_Config = TypeVar("_Config", bound=ModelConfig)


@dataclass(frozen=True)
class Model(Generic[_Config]):
    """A model that passed all checks; its weights are not loaded yet."""

    config: _Config
    """The settings, with what they leave to the model: its own noise levels, guidance, cells of a map."""
    needs: Needs
    folder: ModelFolder
    noising: DdpmNoising | FlowNoising | None
    """None without a network."""
    policy: PromptPolicy
    device: torch.device

    @classmethod
    def prepare(
        cls,
        config: _Config,
        dataset: Dataset | None,
        needs: Needs,
        with_weights: bool = True,
        family: str | None = None,
    ) -> "Model[_Config]":
        """Check a model's settings against its folder and the dataset.

        Args:
            config: The settings.
            dataset: The packed images; None for single pictures, which have no label that a text could tell.
            needs: Which parts of the model are used.
            with_weights: As of `ModelFolder.open`; without, the model cannot be loaded.
            family: That the model must be of; None: any.

        Raises:
            ValueError: If a setting does not fit.
            FingerprintMismatch: If it is of another family.
        """
        device = find_device(config.device)
        folder = ModelFolder.open(
            config.model,
            config.pinned_revision,
            config.vae,
            config.vae_revision,
            needs.unet,
            config.variant,
            with_weights,
        )
        if family is not None and folder.network is not None and folder.layout.family != family:
            raise FingerprintMismatch(
                f"{config.model} is a {folder.layout.family} model, the maps were made by a {shown(family)} model. "
                "Name the diffusion model of the training with --model."
            )
        if with_weights:
            folder.check_files()
            for part in folder.parts.values():
                check_part(part)
        folder.latent_shape(config.image_size)
        noising = load_noising(folder) if needs.unet else None
        config = _resolve(config, folder, noising)
        if noising is not None:
            load_noising(folder, _levels(config) if needs.noise else ())
        policy = PromptPolicy.from_config(config) if folder.has_text else PromptPolicy("none")
        if dataset is not None and not config.allow_label_dependent_prompts:
            policy.check_labels(dataset)
        return cls(config, needs, folder, noising, policy, device)

    def load(self, prompts: Sequence[str] = ()) -> DiffusionModel:
        """Load the weights.

        Args:
            prompts: Texts that will be asked for: they are encoded first, and the text encoders freed.
        """
        config = self.config
        return load_family(
            self.folder,
            self.noising,
            config.compute_dtype,
            self.device,
            config.channels_last,
            self.needs.decoder,
            config.guidance,
            prompts if self.folder.has_text else (),
            config.text_dtype,
        )


def _levels(config: ModelConfig) -> list[float]:
    """The noise levels of a run, which the model must have."""
    if isinstance(config, ExtractConfig):
        return [variant.level for variant in config.variants]
    return [config.timestep if config.sigma is None else config.sigma]


def _resolve(config: _Config, folder: ModelFolder, noising: DdpmNoising | FlowNoising | None) -> _Config:
    """The settings with what they leave to the model.

    Raises:
        ValueError: If a setting is of no use to the model.
    """
    changes = {} if noising is None else resolve_levels(config, noising)
    if config.guidance is not None and not folder.takes_guidance:
        raise ValueError(f"guidance is {config.guidance:g}: {config.model} takes none. Leave it out")
    if folder.takes_guidance and config.guidance is None:
        changes["guidance"] = DEFAULT_GUIDANCE
    if isinstance(config, ExtractConfig):
        cell = config.map_cell or (1 if folder.vae else PIXEL_CELL)
        changes["map_cell"] = cell
        side = folder.latent_shape(config.image_size)[1]
        if side % cell:
            raise ValueError(f"map_cell is {cell}: expected a divisor of {side}, the side of the latents")
    return replace(config, **changes)
