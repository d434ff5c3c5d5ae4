"""UNets of pixels, without an autoencoder: latents are the image itself, in [-1, 1]."""

import torch
from torch import Tensor

from extract.lare import Condition
from extract.models.fitting import check_channels, check_off, unet_divides
from extract.models.latent_diffusion import LatentDiffusion
from extract.models.parts import Layout, ModelParts


def _check(parts: ModelParts) -> None:
    check_off(parts, ("class_embed_type",), "UNets with classes by number, or without a condition")
    check_channels(parts)


class PixelDiffusion(LatentDiffusion):
    """A `UNet2DModel` of pixels. One of classes is told the last of them, which stands for no class in training."""

    layout = Layout(
        family="pixels",
        pipelines=("DDPMPipeline", "DDIMPipeline"),
        network="unet",
        networks=("UNet2DModel",),
        noising="ddpm",
        autoencoders=(),
        divides=unet_divides,
        check=_check,
    )

    @classmethod
    def identity(cls, parts: ModelParts) -> dict[str, int | str]:
        """Which class the network is told, where it has classes."""
        num_classes = parts.of_network("num_class_embeds")
        return super().identity(parts) | ({} if num_classes is None else {"class_label": num_classes - 1})

    def call(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition | None) -> Tensor:
        """One UNet call."""
        label = self.identity(self.folder).get("class_label")
        labels = None if label is None else torch.full_like(timesteps, int(label), dtype=torch.long)
        prediction: Tensor = self.network(noisy_latents, timesteps, labels).sample
        return prediction
