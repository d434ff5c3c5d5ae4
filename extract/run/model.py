"""A run's model: what is checked before any weight is read, and which weights are then read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from cache_schema import Dataset
from extract.config import ModelConfig
from extract.models.base import DiffusionModel
from extract.models.folder import ModelFolder
from extract.models.loading import check_part
from extract.models.prompts import PromptPolicy
from extract.models.stable_diffusion import StableDiffusion, load_scheduler
from extract.needs import Needs
from extract.run.device import find_device


@dataclass(frozen=True)
class Model:
    """A model that passed all checks; its weights are not loaded yet."""

    config: ModelConfig
    needs: Needs
    folder: ModelFolder
    scheduler: Any
    """None without a UNet."""
    policy: PromptPolicy
    device: torch.device

    @classmethod
    def prepare(
        cls,
        config: ModelConfig,
        dataset: Dataset | None,
        needs: Needs,
        timesteps: Iterable[int],
        with_weights: bool = True,
    ) -> "Model":
        """Check a model's settings against its folder and the dataset.

        Args:
            config: The settings.
            dataset: The packed images; None for single pictures, which have no label that a text could tell.
            needs: Which parts of the model are used.
            timesteps: At which noise levels.
            with_weights: As of `ModelFolder.open`; without, the model cannot be loaded.

        Raises:
            ValueError: If a setting does not fit.
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
        if with_weights:
            folder.check_files()
            for part in folder.parts:
                check_part(part)
        folder.latent_shape(config.image_size)
        scheduler = load_scheduler(folder, timesteps) if needs.unet else None
        policy = PromptPolicy("none") if folder.text_encoder is None else PromptPolicy.from_config(config)
        if dataset is not None and not config.allow_label_dependent_prompts:
            policy.check_labels(dataset)
        return cls(config, needs, folder, scheduler, policy, device)

    def load(self) -> DiffusionModel:
        """Load the weights."""
        config = self.config
        return StableDiffusion(
            self.folder, self.scheduler, config.compute_dtype, self.device, config.channels_last, self.needs.decoder
        )
