"""Stable Diffusion XL: a UNet under DDPM's schedule, told a text by two CLIP encoders, and the size of the image."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from extract.lare import Condition
from extract.models.fitting import check_channels, check_off, check_text_width, unet_divides
from extract.models.latent_diffusion import Encoded, LatentDiffusion
from extract.models.parts import Layout, ModelParts, Text
from extract.models.settings import shown
from extract.models.text import CLIP, CLIP_PROJECTED, encode_pooled

_ENCODERS = ("text_encoder", "text_encoder_2")
_NUM_TIME_IDS = 6
"""Height and width of the original, top and left of the crop, height and width of the target."""


def _check(parts: ModelParts) -> None:
    further = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type")
    check_off(parts, further, "UNets with text and size as conditions")
    check_channels(parts)
    if parts.of_network("addition_embed_type") != "text_time":
        kind = shown(parts.of_network("addition_embed_type"))
        raise ValueError(f"{parts.network_folder} has addition_embed_type {kind}: expected text_time")
    widths = sum(int(parts.parts[name].config["hidden_size"]) for name in _ENCODERS)
    check_text_width(parts, "cross_attention_dim", widths, _ENCODERS)
    pooled = int(parts.parts["text_encoder_2"].config["projection_dim"])
    width = _NUM_TIME_IDS * int(parts.of_network("addition_time_embed_dim") or 0) + pooled
    if parts.of_network("projection_class_embeddings_input_dim") != width:
        found = shown(parts.of_network("projection_class_embeddings_input_dim"))
        raise ValueError(
            f"{parts.network_folder} takes {found} values of text and size, this text encoder and {_NUM_TIME_IDS} "
            f"sizes give {width}: supported is the base model, not its refiner"
        )


class StableDiffusionXL(LatentDiffusion):
    """Tokens of both CLIPs side by side, the second's projected text, and the canvas as original and target size."""

    layout = Layout(
        family="stable_diffusion_xl",
        pipelines=("StableDiffusionXLPipeline",),
        network="unet",
        networks=("UNet2DConditionModel",),
        noising="ddpm",
        texts=(
            Text("text_encoder", "tokenizer", CLIP),
            Text("text_encoder_2", "tokenizer_2", CLIP_PROJECTED),
        ),
        divides=unet_divides,
        check=_check,
    )

    def encode_text(self, text: Text, tokenizer: Any, encoder: Any, prompt: str) -> Encoded:
        """The last but one states, and the whole text as one vector."""
        return encode_pooled(tokenizer, encoder, prompt, self.device)

    def combine(self, encoded: Mapping[str, Encoded]) -> Condition:
        """Both encoders' tokens, and the second's vector."""
        tokens = torch.cat([encoded[name][0] for name in _ENCODERS], dim=-1)
        return Condition(tokens, encoded["text_encoder_2"][1])

    def empty_condition(self) -> Condition:
        """As many tokens as CLIP takes."""
        num_tokens = int(self.folder.parts["text_encoder"].config.get("max_position_embeddings", 77))
        pooled = int(self.folder.parts["text_encoder_2"].config["projection_dim"])
        return Condition(
            torch.empty(1, num_tokens, self.folder.of_network("cross_attention_dim"), device=self.device),
            torch.empty(1, pooled, device=self.device),
        )

    def call(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition | None) -> Tensor:
        """One UNet call. The whole canvas is original and target, and nothing is cropped off."""
        assert condition is not None
        height, width = (side * self.folder.latent_stride for side in noisy_latents.shape[-2:])
        sizes = torch.tensor([height, width, 0, 0, height, width], dtype=noisy_latents.dtype)
        added = {
            "text_embeds": condition.pooled,
            "time_ids": sizes.to(noisy_latents.device).expand(len(noisy_latents), -1),
        }
        prediction: Tensor = self.network(noisy_latents, timesteps, condition.embeds, added_cond_kwargs=added).sample
        return prediction
