"""Stable Diffusion 3 and 3.5: a transformer under flow matching, told a text by two CLIP encoders and perhaps T5."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from extract.lare import Condition
from extract.models.fitting import check_channels, check_text_width, patch_divides
from extract.models.latent_diffusion import Encoded, LatentDiffusion
from extract.models.parts import Layout, ModelParts, Text
from extract.models.text import CLIP_PROJECTED, T5, encode_pooled, token_ids

_CLIPS = ("text_encoder", "text_encoder_2")
_T5 = "text_encoder_3"
NUM_TOKENS_T5 = 256
"""Of the pipeline's own `encode_prompt`."""


def _check(parts: ModelParts) -> None:
    check_channels(parts)
    clips = [parts.parts[name].config for name in _CLIPS]
    pooled = sum(int(config["projection_dim"]) for config in clips)
    check_text_width(parts, "pooled_projection_dim", pooled, _CLIPS)
    if _T5 in parts.parts:
        check_text_width(parts, "joint_attention_dim", parts.parts[_T5].config["d_model"], (_T5,))
    widths, joint = sum(int(config["hidden_size"]) for config in clips), parts.of_network("joint_attention_dim")
    if widths > joint:
        raise ValueError(f"{parts.parts[_CLIPS[0]].folder.parent}: texts of width {widths} do not fit into {joint}")


class StableDiffusion3(LatentDiffusion):
    """Tokens of both CLIPs side by side, filled up with zeros to T5's width; then T5's tokens, or zeros without it."""

    layout = Layout(
        family="stable_diffusion_3",
        pipelines=("StableDiffusion3Pipeline",),
        network="transformer",
        networks=("SD3Transformer2DModel",),
        noising="flow",
        texts=(
            Text("text_encoder", "tokenizer", CLIP_PROJECTED),
            Text("text_encoder_2", "tokenizer_2", CLIP_PROJECTED),
            Text(_T5, "tokenizer_3", T5, is_optional=True),
        ),
        divides=patch_divides,
        check=_check,
    )

    def encode_text(self, text: Text, tokenizer: Any, encoder: Any, prompt: str) -> Encoded:
        """CLIP's last but one states and its projected text; T5's last states."""
        if text.folder == _T5:
            ids = token_ids(tokenizer, prompt, NUM_TOKENS_T5)
            return (encoder(ids.to(self.device)).last_hidden_state[0],)
        return encode_pooled(tokenizer, encoder, prompt, self.device)

    def combine(self, encoded: Mapping[str, Encoded]) -> Condition:
        """As the pipeline joins them."""
        width = self.folder.of_network("joint_attention_dim")
        tokens = torch.cat([encoded[name][0] for name in _CLIPS], dim=-1)
        pooled = torch.cat([encoded[name][1] for name in _CLIPS], dim=-1)
        t5 = encoded[_T5][0] if _T5 in encoded else tokens.new_zeros(NUM_TOKENS_T5, width)
        return Condition(torch.cat([F.pad(tokens, (0, width - tokens.shape[-1])), t5]), pooled)

    def empty_condition(self) -> Condition:
        """CLIP's tokens and T5's."""
        num_tokens = NUM_TOKENS_T5 + int(self.folder.parts[_CLIPS[0]].config.get("max_position_embeddings", 77))
        width, pooled = (self.folder.of_network(name) for name in ("joint_attention_dim", "pooled_projection_dim"))
        return Condition(
            torch.empty(1, num_tokens, width, device=self.device), torch.empty(1, pooled, device=self.device)
        )

    def call(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition | None) -> Tensor:
        """One call of the transformer, which is told σ times 1000."""
        assert condition is not None
        prediction: Tensor = self.network(
            noisy_latents,
            encoder_hidden_states=condition.embeds,
            pooled_projections=condition.pooled,
            timestep=timesteps,
        ).sample
        return prediction
