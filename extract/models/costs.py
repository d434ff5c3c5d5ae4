"""What an extraction costs: operations an image by the model's configuration alone, and images a second."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from cache_schema import ShardReport
from extract.models.folder import Component, ModelFolder
from extract.models.loading import build, settings_of

ASSUMED_MACS_PER_SECOND = {
    "cuda": {"bf16": 40e12, "fp16": 40e12, "tf32": 20e12, "fp32": 2.4e12},
    "cpu": {"bf16": 0.1e12, "fp16": 0.1e12, "tf32": 0.1e12, "fp32": 0.1e12},
}
"""Assumed rate of a task before any store is finished, by device and number format: a quarter of an A100's peak, which
is 156e12 multiply-accumulates in bf16, 78e12 in TF32 and 9.75e12 in fp32; a processor of a few cores."""


@dataclass(frozen=True)
class Rate:
    """Expected speed of one device."""

    images_per_second: float
    source: str
    """Where the figure is from, in words."""


def count_macs(folder: ModelFolder, image_size: int, num_unet_calls: int, num_decoder_calls: int = 0) -> int:
    """Multiply-accumulate operations for one image: the encoder once, UNet and decoder once a call.

    Args:
        folder: The model.
        image_size: Side of the canvas in px.
        num_unet_calls: Noise predictions an image.
        num_decoder_calls: Reconstructions an image.
    """
    macs = count_macs_by_part(folder, image_size)
    return macs["vae_encoder"] + num_unet_calls * macs["unet"] + num_decoder_calls * macs["vae_decoder"]


def count_macs_by_part(folder: ModelFolder, image_size: int) -> dict[str, int]:
    """Multiply-accumulate operations of one call of VAE encoder, VAE decoder and UNet for one image.

    No weights are read. Without a UNet its count is 0. Each configuration is counted once in a process.
    """
    text_encoder = folder.text_encoder
    num_tokens = None if text_encoder is None else int(text_encoder.config.get("max_position_embeddings", 77))
    unet = None if folder.unet is None else _as_text(folder.unet)
    return dict(_count_parts(_as_text(folder.vae), unet, num_tokens, folder.latent_shape(image_size), image_size))


def _as_text(part: Component) -> tuple[str, str]:
    """Class and settings of a part, as a key."""
    return part.class_name, json.dumps(settings_of(part), sort_keys=True)


@lru_cache(maxsize=64)
def _count_parts(
    vae_text: tuple[str, str],
    unet_text: tuple[str, str] | None,
    num_tokens: int | None,
    latent_shape: tuple[int, int, int],
    image_size: int,
) -> dict[str, int]:
    # Kept, since every layer is run without numbers: that takes longer than extraction by a tiny model.
    with torch.device("meta"), torch.no_grad():  # shapes without numbers
        vae = build(vae_text[0], json.loads(vae_text[1]))
        images, latents = torch.empty(1, 3, image_size, image_size), torch.empty(1, *latent_shape)
        macs = {
            "vae_encoder": _count(lambda: vae.encode(images)),
            "vae_decoder": _count(lambda: vae.decode(latents)),
            "unet": 0,
        }
        if unet_text is not None:
            unet = build(unet_text[0], json.loads(unet_text[1]))
            condition = {}
            if num_tokens is not None:
                condition["encoder_hidden_states"] = torch.empty(1, num_tokens, unet.config.cross_attention_dim)
            macs["unet"] = _count(lambda: unet(latents, torch.zeros(1), **condition))
    return macs


def _count(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops()) // 2


def expected_rate(
    given: float | None, reports: Iterable[ShardReport], macs: int, device: str, compute_dtype: str
) -> Rate:
    """Images a second of one device: as given, else as the finished stores took, else from the operations.

    Args:
        given: The user's figure.
        reports: What is known of the stores.
        macs: Operations an image.
        device: `cuda` or `cpu`.
        compute_dtype: The models' number format.
    """
    if given is not None:
        return Rate(given, "as given")
    timed = [report for report in reports if report.seconds > 0]
    if timed:
        rate = sum(report.num_rows for report in timed) / sum(report.seconds for report in timed)
        return Rate(rate, f"the mean of {len(timed)} finished stores")
    assumed = ASSUMED_MACS_PER_SECOND[device][compute_dtype]
    rests_on = f"assuming {assumed / 1e12:g} TMAC/s in {compute_dtype}; pass --images_per_second if you know better"
    return Rate(assumed / max(macs, 1), rests_on)
