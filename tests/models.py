"""Real diffusers models with tiny random weights, saved as a folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import CLIPTextConfig, CLIPTextModel

from demo.toy.model import PROMPT_TOKENS, build_tokenizer

IMAGE_SIZE_PX = 64
LATENT_SHAPE = (4, 8, 8)
"""(c, h, w) of the latents of a 64 px image: the autoencoders divide by 8, and so does the UNet."""


def tiny_autoencoder_kl() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=IMAGE_SIZE_PX,
        scaling_factor=0.18215,
    )


def tiny_autoencoder_tiny() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        latent_channels=4,
    )


def tiny_unet(*, conditional: bool = True) -> UNet2DConditionModel | UNet2DModel:
    """A UNet with Stable Diffusion 1.5's blocks, or one of the same depth without text condition."""
    common = {
        "sample_size": LATENT_SHAPE[1],
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16, 16, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
    }
    if not conditional:
        return UNet2DModel(
            **common,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        )
    return UNet2DConditionModel(
        **common,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=16,
        attention_head_dim=2,
    )


def scheduler(prediction_type: str = "epsilon") -> PNDMScheduler:
    """Stable Diffusion 1.5's own sampler and noise schedule."""
    return PNDMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def macs_of_run(call: Callable[[], object]) -> int:
    """Multiply-accumulate operations of a call that is really run, on the CPU."""
    # The CPU's attention is not in torch 2.14's own table.
    attention: dict[Any, Any] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
    }
    counter = FlopCounterMode(display=False, custom_mapping=attention)
    with torch.no_grad(), counter:
        call()
    return counter.get_total_flops() // 2


def save_tiny_sd(
    folder: Path,
    *,
    prediction_type: str = "epsilon",
    conditional: bool = True,
    tiny_vae: bool = False,
    seed: int = 0,
) -> Path:
    """Save a model folder with Stable Diffusion 1.5's layout and block types; returns the folder.

    Args:
        folder: New folder.
        prediction_type: Of its scheduler.
        conditional: A text-conditional UNet; otherwise a `UNet2DModel`, and no text encoder.
        tiny_vae: An `AutoencoderTiny` in place of the `AutoencoderKL`.
        seed: Of the random weights.
    """
    torch.manual_seed(seed)
    unet = tiny_unet(conditional=conditional)
    vae = tiny_autoencoder_tiny() if tiny_vae else tiny_autoencoder_kl()
    if not conditional:
        parts = {"unet": unet, "vae": vae, "scheduler": scheduler(prediction_type)}
        for name, part in parts.items():
            part.save_pretrained(folder / name)
        index = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
        (folder / "model_index.json").write_text(json.dumps({"_class_name": "LDMPipeline", **index}))
        return folder
    tokenizer = build_tokenizer(["a photo", "a photo of a rose", "a photo of a tench"])
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=PROMPT_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler(prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder
