"""The classes that parts of a model may be of: their library, and the entries of their configuration that are read."""

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

from extract.models.settings import CLIP_SETTINGS, GEMMA_2_SETTINGS, T5_SETTINGS


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
    vocabulary: tuple[str, ...] = ()
    """Files of the tokenizer that stand for a missing tokenizer.json; none where that must be there."""
    widths: str = "block_out_channels"
    """Of an autoencoder: the setting with an entry for each size that it works at, each half of the one before."""
    latents: str | None = None
    """Of an autoencoder: what encoding calls the latents; None where it gives their posterior, `latent_dist`."""

    @property
    def stem(self) -> str:
        """What its library calls its weights."""
        return "diffusion_pytorch_model" if self.library == "diffusers" else "model"


_UNET = Kind("diffusers", ("in_channels", "out_channels", "block_out_channels"))
SENTENCEPIECE = "spiece.model"
"""Vocabulary of a T5 tokenizer, where there is no tokenizer.json."""
_CLIP = Kind(
    "transformers", ("hidden_size",), CLIP_SETTINGS, "CLIPTextConfig", "CLIPTokenizer", ("vocab.json", "merges.txt")
)
KINDS: dict[str, Kind] = {
    "UNet2DConditionModel": _UNET,
    "UNet2DModel": _UNET,
    "AutoencoderKL": Kind("diffusers", ("latent_channels", "block_out_channels")),
    "AutoencoderTiny": Kind(
        "diffusers",
        ("latent_channels", "encoder_block_out_channels"),
        widths="encoder_block_out_channels",
        latents="latents",
    ),
    "AutoencoderDC": Kind(
        "diffusers",
        ("latent_channels", "encoder_block_out_channels"),
        widths="encoder_block_out_channels",
        latents="latent",
    ),
    "CLIPTextModel": _CLIP,
    "CLIPTextModelWithProjection": replace(_CLIP, needed=("hidden_size", "projection_dim")),
    "T5EncoderModel": Kind("transformers", ("d_model",), T5_SETTINGS, "T5Config", "T5Tokenizer", (SENTENCEPIECE,)),
    "Gemma2Model": Kind("transformers", ("hidden_size",), GEMMA_2_SETTINGS, "Gemma2Config", "GemmaTokenizer"),
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
    "SanaTransformer2DModel": Kind("diffusers", ("in_channels", "out_channels", "patch_size", "caption_channels")),
}
"""Class → what is known of it. Others are neither opened nor loaded."""
AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
"""Of latents that a cell of 8 px makes: those of all families but one."""
ANY_AUTOENCODER = (*AUTOENCODERS, "AutoencoderDC")


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
