"""Published configurations of diffusion models, as folders without weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extract.models.registry import layout_of

Part = tuple[str, Mapping[str, Any]]
"""Class and configuration."""

_VAE: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
_VAE_16: dict[str, Any] = {**_VAE, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
_CLIP: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
}
_CLIP_H: dict[str, Any] = {
    **_CLIP, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
}  # fmt: skip
_CLIP_BIG_G: dict[str, Any] = {
    **_CLIP, "hidden_size": 1280, "intermediate_size": 5120, "projection_dim": 1280, "num_hidden_layers": 32,
    "num_attention_heads": 20,
}  # fmt: skip
_T5_XXL: dict[str, Any] = {
    "vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}  # fmt: skip
_GEMMA_2: dict[str, Any] = {
    "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
}  # fmt: skip
_UNET: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}
_UNET_2: dict[str, Any] = {
    **_UNET, "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": True,
}  # fmt: skip
_UNET_XL: dict[str, Any] = {
    **_UNET,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [320, 640, 1280],
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_PIXART: dict[str, Any] = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 28,
    "cross_attention_dim": 1152,
    "sample_size": 128,
    "patch_size": 2,
    "caption_channels": 4096,
}
_SD3: dict[str, Any] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
_SD35: dict[str, Any] = {
    **_SD3, "pos_embed_max_size": 384, "dual_attention_layers": [*range(13)], "qk_norm": "rms_norm",
}  # fmt: skip
_SD35_LARGE: dict[str, Any] = {
    **_SD3, "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "qk_norm": "rms_norm",
}  # fmt: skip
_FLUX: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
}
_SANA: dict[str, Any] = {
    "in_channels": 32,
    "out_channels": 32,
    "num_attention_heads": 70,
    "attention_head_dim": 32,
    "num_layers": 20,
    "num_cross_attention_heads": 20,
    "cross_attention_head_dim": 112,
    "cross_attention_dim": 2240,
    "caption_channels": 2304,
    "mlp_ratio": 2.5,
    "sample_size": 32,
    "patch_size": 1,
}
_DC_AE: dict[str, Any] = {
    "latent_channels": 32,
    **{f"{half}_block_types": ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3 for half in ("encoder", "decoder")},
    **{f"{half}_block_out_channels": [128, 256, 512, 512, 1024, 1024] for half in ("encoder", "decoder")},
    **{f"{half}_qkv_multiscales": [[], [], [], [5], [5], [5]] for half in ("encoder", "decoder")},
    "encoder_layers_per_block": [2, 2, 2, 3, 3, 3],
    "decoder_layers_per_block": [3, 3, 3, 3, 3, 3],
    "downsample_block_type": "conv",
    "upsample_block_type": "interpolate",
    "scaling_factor": 0.41407,
}
_TEXT: Part = ("CLIPTextModel", _CLIP)
_T5: Part = ("T5EncoderModel", _T5_XXL)
_CLIPS: dict[str, Part] = {
    "text_encoder": ("CLIPTextModelWithProjection", _CLIP),
    "text_encoder_2": ("CLIPTextModelWithProjection", _CLIP_BIG_G),
    "text_encoder_3": _T5,
}


def _unet(config: Mapping[str, Any], **texts: Part) -> dict[str, Part]:
    return {"unet": ("UNet2DConditionModel", config), "vae": ("AutoencoderKL", _VAE), **texts}


def _sd3(config: Mapping[str, Any]) -> dict[str, Part]:
    return {"transformer": ("SD3Transformer2DModel", config), "vae": ("AutoencoderKL", _VAE_16), **_CLIPS}


def _flux(*, has_guidance: bool) -> dict[str, Part]:
    return {
        "transformer": ("FluxTransformer2DModel", {**_FLUX, "guidance_embeds": has_guidance}),
        "vae": ("AutoencoderKL", _VAE_16),
        "text_encoder": _TEXT,
        "text_encoder_2": _T5,
    }


_PIXART_PARTS: dict[str, Part] = {
    "transformer": ("PixArtTransformer2DModel", _PIXART),
    "vae": ("AutoencoderKL", _VAE),
    "text_encoder": _T5,
}
PUBLISHED: dict[str, tuple[str, dict[str, Part]]] = {
    "Stable Diffusion 1.5": ("StableDiffusionPipeline", _unet(_UNET, text_encoder=_TEXT)),
    "Stable Diffusion 2.1, SD Turbo": (
        "StableDiffusionPipeline",
        _unet(_UNET_2, text_encoder=("CLIPTextModel", _CLIP_H)),
    ),
    "Stable Diffusion XL": (
        "StableDiffusionXLPipeline",
        _unet(_UNET_XL, text_encoder=_TEXT, text_encoder_2=_CLIPS["text_encoder_2"]),
    ),
    "PixArt-α, 1024 px": ("PixArtAlphaPipeline", _PIXART_PARTS),
    "PixArt-Σ, 1024 px": (
        "PixArtSigmaPipeline",
        {
            **_PIXART_PARTS,
            "transformer": ("PixArtTransformer2DModel", {**_PIXART, "use_additional_conditions": False}),
        },
    ),
    "Stable Diffusion 3 medium": ("StableDiffusion3Pipeline", _sd3(_SD3)),
    "Stable Diffusion 3.5 medium": ("StableDiffusion3Pipeline", _sd3(_SD35)),
    "Stable Diffusion 3.5 large": ("StableDiffusion3Pipeline", _sd3(_SD35_LARGE)),
    "Flux.1 dev": ("FluxPipeline", _flux(has_guidance=True)),
    "Flux.1 schnell": ("FluxPipeline", _flux(has_guidance=False)),
    "Sana 1.6B, 1024 px": (
        "SanaPipeline",
        {
            "transformer": ("SanaTransformer2DModel", _SANA),
            "vae": ("AutoencoderDC", _DC_AE),
            "text_encoder": ("Gemma2Model", _GEMMA_2),
        },
    ),
}
"""Model → its pipeline, and its parts by folder, as its public configurations have them; what moves no cost is left
out."""


def write_configurations(name: str, folder: Path) -> Path:
    """Write a published model's configurations as a folder without weights; returns it.

    Args:
        name: One of `PUBLISHED`.
        folder: New folder.
    """
    pipeline, parts = PUBLISHED[name]
    layout = layout_of(pipeline)
    assert layout is not None
    scheduler = "FlowMatchEulerDiscreteScheduler" if layout.noising == "flow" else "DDPMScheduler"
    files: dict[str, Mapping[str, Any]] = {
        "scheduler/scheduler_config.json": {"_class_name": scheduler},
        "model_index.json": {"_class_name": pipeline, **{part: ["", kind] for part, (kind, _) in parts.items()}},
    }
    for part, (kind, config) in parts.items():
        named = {"architectures": [kind]} if part.startswith("text") else {"_class_name": kind}
        files[f"{part}/config.json"] = {**named, **config}
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(content))
    return folder
