"""DiT: a transformer of latents under DDPM's schedule, of ImageNet's classes."""

import torch
from torch import Tensor

from extract.lare import Condition
from extract.models.fitting import check_channels, patch_divides
from extract.models.latent_diffusion import LatentDiffusion
from extract.models.parts import Layout, ModelParts


class Dit(LatentDiffusion):
    """The network is told the class behind the last, which stands for none. It may predict variances, left out here."""

    layout = Layout(
        family="dit",
        pipelines=("DiTPipeline",),
        network="transformer",
        networks=("DiTTransformer2DModel",),
        noising="ddpm",
        divides=patch_divides,
        check=lambda parts: check_channels(parts, also_variances=True),
    )

    @classmethod
    def identity(cls, parts: ModelParts) -> dict[str, int | str]:
        """Which class the network is told."""
        return super().identity(parts) | {"class_label": int(parts.of_network("num_embeds_ada_norm"))}

    def call(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition | None) -> Tensor:
        """One call of the transformer."""
        labels = torch.full_like(timesteps, int(self.folder.of_network("num_embeds_ada_norm")))
        prediction: Tensor = self.network(noisy_latents, timestep=timesteps, class_labels=labels).sample
        return prediction[:, : noisy_latents.shape[1]]
