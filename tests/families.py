"""Tiny pipelines of random weights, one a family of diffusion models, saved by diffusers' own classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from demo.toy.model import PROMPT_TOKENS, build_tokenizer
from tests.models import scheduler

TEXTS = ["a photo", "a photo of a rose", "a photo of a tench"]
CLIP_WIDTH = 16
T5_WIDTH = 32
GEMMA_WIDTH = 24
T5_PIECES = [
    *[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁a", -2.5)],
    *[(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"],
]
"""Texts and scores of a tokenizer's pieces."""


def vae(channels: int, *, shift: float | None = None, scale: float = 0.13) -> AutoencoderKL:
    """An autoencoder that divides by 8."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        scaling_factor=scale,
        shift_factor=shift,
        use_quant_conv=shift is None,
        use_post_quant_conv=shift is None,
    )


def clip(kind: Any, seed: int) -> tuple[Any, Any]:
    """A CLIP text encoder of two layers, and its tokenizer."""
    tokenizer = build_tokenizer(TEXTS)
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=CLIP_WIDTH,
        intermediate_size=32,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=PROMPT_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config).eval(), tokenizer


def t5() -> tuple[Any, Any]:
    """A T5 encoder of two layers, and a tokenizer of letters."""
    tokenizer = T5Tokenizer(vocab=T5_PIECES, extra_ids=0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=T5_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return T5EncoderModel(config).eval(), tokenizer


def save_sdxl(folder: Path) -> None:
    """Stable Diffusion XL."""
    text_encoder, tokenizer = clip(CLIPTextModel, 1)
    text_encoder_2, tokenizer_2 = clip(CLIPTextModelWithProjection, 2)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        cross_attention_dim=2 * CLIP_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + CLIP_WIDTH,
    )
    StableDiffusionXLPipeline(
        vae(4), text_encoder, text_encoder_2, tokenizer, tokenizer_2, unet, scheduler()
    ).save_pretrained(folder)


def save_pixart(folder: Path, kind: Any, sample_size: int) -> None:
    """PixArt: a model of `sample_size` 128 is told the size of the image."""
    text_encoder, tokenizer = t5()
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24,
        sample_size=sample_size,
        caption_channels=T5_WIDTH,
    )
    schedule = DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear")
    kind(
        tokenizer=tokenizer, text_encoder=text_encoder, vae=vae(4), transformer=transformer, scheduler=schedule
    ).save_pretrained(folder)


def save_sd3(folder: Path, *, with_t5: bool) -> None:
    """Stable Diffusion 3, with or without T5."""
    (text_encoder, tokenizer), (text_encoder_2, tokenizer_2) = (clip(CLIPTextModelWithProjection, s) for s in (1, 2))
    text_encoder_3, tokenizer_3 = t5() if with_t5 else (None, None)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * CLIP_WIDTH + (0 if with_t5 else 8),
        caption_projection_dim=16,
        pooled_projection_dim=2 * CLIP_WIDTH,
        out_channels=16,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(16, shift=0.06, scale=1.5),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        text_encoder_3=text_encoder_3,
        tokenizer_3=tokenizer_3,
    ).save_pretrained(folder)


def save_flux(folder: Path, *, is_dev: bool) -> None:
    """Flux.1 dev, which takes a guidance, or schnell."""
    text_encoder, tokenizer = clip(CLIPTextModel, 1)
    text_encoder_2, tokenizer_2 = t5()
    transformer = FluxTransformer2DModel(
        in_channels=16 * 4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=is_dev,
        axes_dims_rope=(4, 4, 8),
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=is_dev),
        vae=vae(16, shift=0.1, scale=0.36),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=transformer,
    ).save_pretrained(folder)


def gemma() -> tuple[Any, Any]:
    """A Gemma 2 of two layers, and a tokenizer of letters."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokenizer = GemmaTokenizer(vocab={piece: number for number, piece in enumerate([*special, *letters])})
    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=GEMMA_WIDTH, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8,
    )  # fmt: skip
    return Gemma2Model(config).eval(), tokenizer


def save_sana(folder: Path) -> None:
    """Sana, whose autoencoder divides by 32 and has 32 channels."""
    text_encoder, tokenizer = gemma()
    blocks: dict[str, Any] = {
        "block_types": ("ResBlock",) * 5 + ("EfficientViTBlock",),
        "block_out_channels": (8, 8, 8, 8, 16, 32),
        "layers_per_block": (1,) * 6,
        "qkv_multiscales": ((), (), (), (), (), (5,)),
    }
    halves = {f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in blocks.items()}
    transformer = SanaTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=GEMMA_WIDTH,
        sample_size=2,
    )
    SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=AutoencoderDC(attention_head_dim=8, scaling_factor=0.41, downsample_block_type="Conv", **halves),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    ).save_pretrained(folder)


def save_dit(folder: Path) -> None:
    """DiT of seven classes."""
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=7,
    )
    schedule = DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear")
    DiTPipeline(transformer, vae(4), schedule, {i: f"class {i}" for i in range(7)}).save_pretrained(folder)


def save_pixels(folder: Path, *, num_classes: int | None) -> None:
    """A UNet of 64 px images, of classes or none."""
    unet = UNet2DModel(
        sample_size=64,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        num_class_embeds=num_classes,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)


SAVE: dict[str, Callable[[Path], None]] = {
    "sdxl": save_sdxl,
    "pixart_alpha": lambda folder: save_pixart(folder, PixArtAlphaPipeline, 128),
    "pixart_sigma": lambda folder: save_pixart(folder, PixArtSigmaPipeline, 8),
    "sd3": lambda folder: save_sd3(folder, with_t5=True),
    "sd3_without_t5": lambda folder: save_sd3(folder, with_t5=False),
    "flux_dev": lambda folder: save_flux(folder, is_dev=True),
    "flux_schnell": lambda folder: save_flux(folder, is_dev=False),
    "sana": save_sana,
    "dit": save_dit,
    "pixels": lambda folder: save_pixels(folder, num_classes=None),
    "pixels_of_classes": lambda folder: save_pixels(folder, num_classes=6),
}
"""Name → what saves a pipeline of that kind into a new folder."""


def save_family(name: str, folder: Path) -> Path:
    """Save a tiny pipeline of a kind; returns its folder."""
    torch.manual_seed(3)
    SAVE[name](folder)
    return folder
