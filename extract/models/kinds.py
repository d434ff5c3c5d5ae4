"""The classes that parts of a model may be of: their library, and the entries of their configuration that are read."""

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

from extract.models.settings import CLIP_SETTINGS, T5_SETTINGS


@dataclass(frozen=True)
class Kind:
    """One class of networks."""

    library: Literal["diffusers", "transformers"]
    needed: tuple[str, ...]
    """Entries of its configuration that must be there."""
    settings: tuple[str, ...] | None = None
    """Settings that a network is built by; None: those that its class takes."""
    config: str | None = None
    """Class of its settings, where it takes an object of them."""
    tokenizer: str | None = None
    """Class of the tokenizer of a text encoder."""
    widths: str = "block_out_channels"
    """Of an autoencoder: the setting with an entry for each size that it works at, each half of the one before."""

    @property
    def stem(self) -> str:
        """What its library calls its weights."""
        return "diffusion_pytorch_model" if self.library == "diffusers" else "model"


_UNET = Kind("diffusers", ("in_channels", "out_channels", "block_out_channels"))
_CLIP = Kind("transformers", ("hidden_size",), CLIP_SETTINGS, "CLIPTextConfig", "CLIPTokenizer")
KINDS: dict[str, Kind] = {
    "UNet2DConditionModel": _UNET,
    "UNet2DModel": _UNET,
    "AutoencoderKL": Kind("diffusers", ("latent_channels", "block_out_channels")),
    "AutoencoderTiny": Kind(
        "diffusers", ("latent_channels", "encoder_block_out_channels"), widths="encoder_block_out_channels"
    ),
    "CLIPTextModel": _CLIP,
    "CLIPTextModelWithProjection": replace(_CLIP, needed=("hidden_size", "projection_dim")),
    "T5EncoderModel": Kind("transformers", ("d_model",), T5_SETTINGS, "T5Config", "T5Tokenizer"),
    "SD3Transformer2DModel": Kind(
        "diffusers", ("in_channels", "patch_size", "joint_attention_dim", "pooled_projection_dim")
    ),
    "FluxTransformer2DModel": Kind(
        "diffusers", ("in_channels", "patch_size", "joint_attention_dim", "pooled_projection_dim")
    ),
    "DiTTransformer2DModel": Kind("diffusers", ("in_channels", "out_channels", "patch_size", "num_embeds_ada_norm")),
    "PixArtTransformer2DModel": Kind(
        "diffusers", ("in_channels", "out_channels", "patch_size", "sample_size", "caption_channels")
    ),
}
"""Class → what is known of it. Others are neither opened nor loaded."""
AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")


def network_class(name: str) -> Any:
    """The class of that name, one of `KINDS`."""
    return getattr(import_module(KINDS[name].library), name)


def tokenizer_class(name: str) -> Any:
    """The class of the tokenizer of a text encoder, which is one of `KINDS`."""
    return getattr(import_module("transformers"), str(KINDS[name].tokenizer))


def config_class(name: str) -> Any:
    """The class of its settings; None where it takes them one by one."""
    kind = KINDS[name]
    return None if kind.config is None else getattr(import_module(kind.library), kind.config)
