"""The toy flow-matching model, untrained: Stable Diffusion 3's tiny transformer on a toy model's autoencoder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from demo.toy.model import GENERIC_PROMPT, IMAGE_SIZE_PX, PROMPT_TEMPLATE

TEXT_WIDTH = 24
ZERO_TOKENS = 256
"""Tokens of zeros that diffusers' pipeline puts in the place of a T5's, where the folder has none."""


@dataclass(frozen=True)
class FlowConfig:
    """What decides the trained weights."""

    seed: int = 0
    num_layers: int = 5
    num_heads: int = 3
    head_dim: int = 32
    patch_size: int = 1
    """Latent cells along a side of a token."""
    steps: int = 4800
    batch_size: int = 16
    learning_rate: float = 1.5e-3
    is_logit_normal: bool = True
    """Noise levels σ are drawn as Stable Diffusion 3's are, the middle ones most often; otherwise all alike."""
    empty_prompt_fraction: float = 0.15
    generic_prompt_fraction: float = 0.10
    ema_decay: float = 0.999
    crops_per_photo: int = 8


class ZeroTokensAsOne:
    """Joint attention that sees one token of zeros with the weight of `ZERO_TOKENS`.

    Those tokens are equal, and as the context has no positions they stay equal through all blocks. One of them, with
    the logarithm of their number added to its attention scores, gives what all of them give: less to compute, the same
    result.
    """

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any
    ) -> tuple[Tensor, Tensor]:
        """Attend from image (b, n, d) and context (b, m, d) tokens to both; the last context token is the zeros'."""

        def heads(*parts: Tensor) -> Tensor:
            return torch.cat(parts, dim=1).unflatten(2, (attn.heads, -1)).transpose(1, 2)

        image, context = hidden_states, encoder_hidden_states
        query = heads(attn.to_q(image), attn.add_q_proj(context))
        key = heads(attn.to_k(image), attn.add_k_proj(context))
        value = heads(attn.to_v(image), attn.add_v_proj(context))
        bias = torch.zeros(1, 1, 1, key.shape[2], dtype=query.dtype)
        bias[..., -1] = math.log(ZERO_TOKENS)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)
        image, context = out[:, : image.shape[1]], out[:, image.shape[1] :]
        return attn.to_out[0](image), context if attn.context_pre_only else attn.to_add_out(context)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """A frozen random text encoder of one layer.

    Stable Diffusion 3 reads the hidden states before the last layer, here the embeddings. CLIP's are initialised for
    training and almost zero; these stay as they are, so they get unit variance.
    """
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModelWithProjection(config).eval().requires_grad_(False)
    for name, weight in encoder.named_parameters():
        if "embedding" in name:
            weight.div_(weight.std())
    return encoder


def build_pipeline(model: Path, config: FlowConfig) -> StableDiffusion3Pipeline:
    """The untrained transformer, with the autoencoder and tokenizer of a Stable Diffusion folder."""
    local = {"local_files_only": True}
    vae = AutoencoderKL.from_pretrained(
        model / "vae", torch_dtype=torch.float32, use_safetensors=True, low_cpu_mem_usage=False, **local
    )
    vae.register_to_config(shift_factor=vae.config.shift_factor or 0.0)  # the pipeline asks for a number
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer", **local)
    torch.manual_seed(config.seed)
    text_encoders = [build_text_encoder(tokenizer) for _ in range(2)]
    size = IMAGE_SIZE_PX // 2 ** (len(vae.config.block_out_channels) - 1)
    transformer = SD3Transformer2DModel(
        sample_size=size,
        patch_size=config.patch_size,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        num_layers=config.num_layers,
        attention_head_dim=config.head_dim,
        num_attention_heads=config.num_heads,
        joint_attention_dim=2 * TEXT_WIDTH,
        caption_projection_dim=config.num_heads * config.head_dim,
        pooled_projection_dim=2 * TEXT_WIDTH,
        pos_embed_max_size=size // config.patch_size,
    )
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae.eval().requires_grad_(False),
        text_encoder=text_encoders[0],
        tokenizer=tokenizer,
        text_encoder_2=text_encoders[1],
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def encode_texts(pipeline: StableDiffusion3Pipeline, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Text conditions for `ZeroTokensAsOne`: context (texts, tokens + 1, dim) and pooled (texts, dim).

    Raises:
        ValueError: If the pipeline has a T5: its tokens are not zeros.
    """
    if pipeline.text_encoder_3 is not None:
        raise ValueError("the toy flow-matching model is one without a T5; this one has a text_encoder_3")
    context, _, pooled, _ = pipeline.encode_prompt(
        [*texts], None, None, do_classifier_free_guidance=False, max_sequence_length=1
    )
    return context, pooled


def encode_prompts(pipeline: StableDiffusion3Pipeline, names: list[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """`encode_texts` of "", the generic prompt, and each class's prompt: name → context and pooled."""
    texts = [n if n in ("", GENERIC_PROMPT) else PROMPT_TEMPLATE.format(class_name=n) for n in names]
    return dict(zip(names, zip(*encode_texts(pipeline, texts), strict=True), strict=True))
