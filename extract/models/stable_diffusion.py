"""Stable Diffusion 1.x, 2.x and Turbo, and other UNets of latents that take one text or none."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from extract.lare import Condition
from extract.models.fitting import check_channels, check_off, check_text_width, unet_divides
from extract.models.latent_diffusion import Encoded, LatentDiffusion
from extract.models.parts import Layout, ModelParts, Text
from extract.models.text import CLIP, clip_length, token_ids


def _check(parts: ModelParts) -> None:
    further = ("addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim_type")
    check_off(parts, further, "UNets with a text condition alone, or none")
    check_channels(parts)
    if parts.has_text:
        width = parts.parts["text_encoder"].config["hidden_size"]
        check_text_width(parts, "cross_attention_dim", width, ("text_encoder",))


class StableDiffusion(LatentDiffusion):
    """A UNet under DDPM's schedule, conditioned on the last states of a CLIP text encoder, or on nothing."""

    layout = Layout(
        family="stable_diffusion",
        pipelines=("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "LDMPipeline"),
        network="unet",
        networks=("UNet2DConditionModel", "UNet2DModel"),
        noising="ddpm",
        texts=(Text("text_encoder", "tokenizer", CLIP),),
        without_text=("UNet2DModel",),
        divides=unet_divides,
        check=_check,
    )

    @classmethod
    def identity(cls, parts: ModelParts) -> dict[str, int | str]:
        """None: maps of this family were made before there were others."""
        return {}

    def encode_text(self, text: Text, tokenizer: Any, encoder: Any, prompt: str) -> Encoded:
        """The last states of all tokens, (tokens, dim)."""
        ids = token_ids(tokenizer, prompt, clip_length(tokenizer, encoder))
        return (encoder(ids.to(self.device)).last_hidden_state[0],)

    def combine(self, encoded: Mapping[str, Encoded]) -> Condition:
        """The tokens' states alone."""
        return Condition(*encoded["text_encoder"])

    def empty_condition(self) -> Condition:
        """As many tokens as the text encoder takes."""
        num_tokens = int(self.folder.parts["text_encoder"].config.get("max_position_embeddings", 77))
        return Condition(torch.empty(1, num_tokens, self.network.config.cross_attention_dim, device=self.device))

    def call(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition | None) -> Tensor:
        """One UNet call."""
        conditions = () if condition is None else (condition.embeds,)
        prediction: Tensor = self.network(noisy_latents, timesteps, *conditions).sample
        return prediction
