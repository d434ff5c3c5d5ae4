"""Flux.1 dev and schnell: a transformer of packed latents under flow matching, told a text by CLIP and T5."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from extract.lare import Condition
from extract.models.fitting import check_text_width
from extract.models.latent_diffusion import Encoded, LatentDiffusion
from extract.models.parts import Layout, ModelParts, Text
from extract.models.text import CLIP, T5, clip_length, token_ids
from extract.noising import FlowNoising

PATCH = 2
"""Side of the squares of latents that make one token."""
NUM_TOKENS_T5 = 512
"""Of the pipeline's own `encode_prompt`."""


def _check(parts: ModelParts) -> None:
    takes, has = parts.of_network("in_channels"), parts.latent_channels * PATCH**2
    gives = parts.of_network("out_channels") or takes
    if (takes, gives, parts.of_network("patch_size")) != (has, has, 1):
        raise ValueError(
            f"{parts.network_folder} takes {takes} and gives {gives} channels of a token, {PATCH} x {PATCH} latents "
            f"of this autoencoder have {has}: supported are transformers from latents to latents"
        )
    pooled = parts.parts["text_encoder"].config["hidden_size"]
    check_text_width(parts, "pooled_projection_dim", pooled, ("text_encoder",))
    width = parts.parts["text_encoder_2"].config["d_model"]
    check_text_width(parts, "joint_attention_dim", width, ("text_encoder_2",))


class Flux(LatentDiffusion):
    """T5's tokens, and CLIP's text as one vector; a guidance-distilled network (dev) is also told of a guidance."""

    layout = Layout(
        family="flux",
        pipelines=("FluxPipeline",),
        network="transformer",
        networks=("FluxTransformer2DModel",),
        noising="flow",
        texts=(Text("text_encoder", "tokenizer", CLIP), Text("text_encoder_2", "tokenizer_2", T5)),
        divides=lambda transformer: PATCH,
        check=_check,
    )

    def encode_text(self, text: Text, tokenizer: Any, encoder: Any, prompt: str) -> Encoded:
        """CLIP's pooled state; T5's last states."""
        if text.folder == "text_encoder":
            ids = token_ids(tokenizer, prompt, clip_length(tokenizer, encoder))
            return (encoder(ids.to(self.device)).pooler_output[0],)
        ids = token_ids(tokenizer, prompt, NUM_TOKENS_T5)
        return (encoder(ids.to(self.device)).last_hidden_state[0],)

    def combine(self, encoded: Mapping[str, Encoded]) -> Condition:
        """T5's tokens and CLIP's vector."""
        return Condition(*encoded["text_encoder_2"], *encoded["text_encoder"])

    def empty_condition(self) -> Condition:
        """As many tokens as T5 is asked for."""
        width, pooled = (self.folder.of_network(name) for name in ("joint_attention_dim", "pooled_projection_dim"))
        return Condition(
            torch.empty(1, NUM_TOKENS_T5, width, device=self.device), torch.empty(1, pooled, device=self.device)
        )

    def call(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition | None) -> Tensor:
        """One call of the transformer, which multiplies σ and guidance by 1000 itself."""
        assert condition is not None and isinstance(self.noising, FlowNoising)
        guidance = None if self.guidance is None else torch.full_like(timesteps, self.guidance)
        height, width = (side // PATCH for side in noisy_latents.shape[-2:])
        prediction: Tensor = self.network(
            hidden_states=F.pixel_unshuffle(noisy_latents, PATCH).flatten(2).transpose(1, 2),
            timestep=timesteps / self.noising.num_train_timesteps,
            guidance=guidance,
            pooled_projections=condition.pooled,
            encoder_hidden_states=condition.embeds,
            txt_ids=timesteps.new_zeros(condition.embeds.shape[1], 3),
            img_ids=_image_ids(height, width, timesteps),
        ).sample
        tokens = prediction.transpose(1, 2)
        return F.pixel_shuffle(tokens.reshape(len(tokens), -1, height, width), PATCH)


def _image_ids(height: int, width: int, like: Tensor) -> Tensor:
    """Row and column of each token, (height · width, 3), behind a zero."""
    rows, columns = torch.arange(height, dtype=like.dtype), torch.arange(width, dtype=like.dtype)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
    return F.pad(grid, (1, 0)).to(like.device)
