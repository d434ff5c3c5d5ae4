"""Models of Stable Diffusion 1.5's shapes with random weights: its time and operations without its download."""

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, AutoencoderTiny, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from bench.runner import Context
from cache_schema import lock_folder, new_folder
from demo.toy.model import build_tokenizer

PROMPT = "a photo"
PROMPT_TOKENS = 77


def build_unet() -> UNet2DConditionModel:
    """859,520,964 parameters."""
    return UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=64,
        in_channels=4,
        out_channels=4,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=768,
        attention_head_dim=8,
        norm_num_groups=32,
    )


def build_vae() -> AutoencoderKL:
    """83,653,863 parameters, of which the encoder has 34 million."""
    return AutoencoderKL(  # type: ignore[no-untyped-call]
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=512,
        scaling_factor=0.18215,
    )


def save_tiny_autoencoder(folder: Path) -> Path:
    """A folder of the tiny autoencoder for these latents (diffusers' defaults), 2,445,063 parameters, at random."""
    AutoencoderTiny().save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


def build_text_encoder() -> CLIPTextModel:
    """CLIP ViT-L/14's text half, 123,060,480 parameters."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=PROMPT_TOKENS,
            hidden_act="quick_gelu",
        )
    )


def find_sd15(context: Context) -> Path:
    """The folder that was named, or a temporary one."""
    return save_sd15(Path(context.config.sd15_folder or context.folder / "sd15"))


def save_sd15(folder: Path) -> Path:
    """A folder of these models, saved there with random weights (4 GB) if it holds none; returns it."""
    if (folder / "model_index.json").is_file():
        return folder
    tokenizer = build_tokenizer([PROMPT])
    tokenizer.model_max_length = PROMPT_TOKENS  # as many tokens as Stable Diffusion's, from a vocabulary of a few words
    scheduler = DDPMScheduler(  # type: ignore[no-untyped-call]
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    pipeline: Any = StableDiffusionPipeline(  # type: ignore[no-untyped-call]
        vae=build_vae(),
        text_encoder=build_text_encoder(),
        tokenizer=tokenizer,
        unet=build_unet(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with lock_folder(folder), new_folder(folder, durable=False) as temporary:
        pipeline.save_pretrained(temporary, safe_serialization=True)
    return folder
