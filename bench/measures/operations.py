"""Multiply-accumulate operations of an image by module, counted on models without weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from bench.data import sd15
from bench.runner import Context, Figure, reading

NAME = "operations"


@dataclass(frozen=True)
class Shapes:
    """A model's parts on the meta device, where operations have shapes and no numbers."""

    name: str
    unet: Any
    vae: Any
    text_encoder: Any
    image_size: int
    num_tokens: int


def sd15_shapes(image_size: int) -> Shapes:
    """Stable Diffusion 1.5."""
    with torch.device("meta"):
        unet, vae, text_encoder = sd15.build_unet(), sd15.build_vae(), sd15.build_text_encoder()
    return Shapes("sd15", unet, vae, text_encoder, image_size, sd15.PROMPT_TOKENS)


def folder_shapes(name: str, folder: Path, image_size: int) -> Shapes:
    """A diffusers folder, by its configurations alone."""
    text_config = CLIPTextConfig.from_pretrained(folder / "text_encoder")
    unet_config = UNet2DConditionModel.load_config(folder / "unet")
    vae_config = AutoencoderKL.load_config(folder / "vae")
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(unet_config)  # type: ignore[no-untyped-call]
        vae: Any = AutoencoderKL.from_config(vae_config)  # type: ignore[no-untyped-call]
        text_encoder = CLIPTextModel(text_config)
    return Shapes(name, unet, vae, text_encoder, image_size, text_config.max_position_embeddings)


def count_macs(module: nn.Module, call: Callable[[], object]) -> tuple[int, dict[str, int]]:
    """Multiply-accumulate operations of a call, and of each direct submodule in it.

    Args:
        module: On the meta device.
        call: Runs it once.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        call()
    counts, root = counter.get_flop_counts(), type(module).__name__

    def macs(name: str) -> int:
        return sum(counts.get(name, {}).values()) // 2

    parts = {}
    for name, child in module.named_children():
        # A list of modules is never called itself.
        names = [f"{name}.{i}" for i in range(len(child))] if isinstance(child, nn.ModuleList) else [name]
        parts[name] = sum(macs(f"{root}.{n}") for n in names)
    return int(counter.get_total_flops()) // 2, {name: n for name, n in parts.items() if n}


def count_parts(shapes: Shapes) -> dict[str, tuple[int, dict[str, int]]]:
    """Operations of one call for one image: of UNet, VAE encoder and text encoder, each with its submodules."""
    stride = 2 ** (len(shapes.vae.config.block_out_channels) - 1)
    side = shapes.image_size // stride
    with torch.device("meta"):
        image = torch.empty(1, 3, shapes.image_size, shapes.image_size)
        latents = torch.empty(1, shapes.vae.config.latent_channels, side, side)
        timestep = torch.empty(1, dtype=torch.long)
        text = torch.empty(1, shapes.num_tokens, shapes.unet.config.cross_attention_dim)
        tokens = torch.empty(1, shapes.num_tokens, dtype=torch.long)
    return {
        "unet": count_macs(shapes.unet, lambda: shapes.unet(latents, timestep, text)),
        "vae_encoder": count_macs(shapes.vae.encoder, lambda: shapes.vae.encode(image)),
        "text_encoder": count_macs(shapes.text_encoder, lambda: shapes.text_encoder(tokens)),
    }


def measure_operations(context: Context) -> list[Figure]:
    """GMAC of an image and of every part, for the small model and Stable Diffusion 1.5."""
    config = context.config
    figures = []
    for shapes in (
        folder_shapes("toy", Path(config.toy_model), config.toy_image_size),
        sd15_shapes(config.sd15_image_size),
    ):
        name, parts = f"{NAME}_{shapes.name}", count_parts(shapes)
        total = parts["vae_encoder"][0] + config.ensemble_size * parts["unet"][0]
        text = f"an image of {shapes.image_size} px: encoder once, UNet {config.ensemble_size} times; text not counted"
        figures.append(_gmac(name, total, text))
        for part, (macs, children) in parts.items():
            figures.append(_gmac(f"{name}.{part}", macs, "one call for one image"))
            figures += [_gmac(f"{name}.{part}.{child}", n, f"{n / macs:.1%} of it") for child, n in children.items()]
    return figures


def _gmac(measure: str, macs: int, against: str) -> Figure:
    return reading(measure, [macs / 1e9], "GMAC", against)
