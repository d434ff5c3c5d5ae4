"""What an extraction costs: operations an image by the model's configuration alone, and images a second."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from cache_schema import ShardReport
from extract.config import ComputeDtype
from extract.models.latent_diffusion import LatentDiffusion
from extract.models.loading import build_without_numbers, settings_of
from extract.models.number_formats import split_formats
from extract.models.parts import ModelParts
from extract.models.registry import load_family
from extract.models.schedule import load_noising
from extract.noising import NoiseLevel

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


def count_macs(folder: ModelParts, image_size: int, num_network_calls: int, num_decoder_calls: int = 0) -> int:
    """Multiply-accumulate operations for one image: the encoder once, network and decoder once a call.

    Args:
        folder: The model.
        image_size: Side of the canvas in px.
        num_network_calls: Noise predictions an image.
        num_decoder_calls: Reconstructions an image.
    """
    macs = count_macs_by_part(folder, image_size)
    return macs["vae_encoder"] + num_network_calls * macs["unet"] + num_decoder_calls * macs["vae_decoder"]


def count_macs_by_part(folder: ModelParts, image_size: int) -> dict[str, int]:
    """Multiply-accumulate operations of one call of "vae_encoder", "vae_decoder" and "unet" for one image.

    "unet" is the network that predicts, also where it is a transformer. No weights are read. What a model lacks counts
    0. Each configuration is counted once in a process.
    """
    parts = {name: (part.class_name, settings_of(part)) for name, part in folder.parts.items()}
    key = json.dumps([folder.layout.family, folder.scheduler_config, parts], sort_keys=True)
    return dict(_count_parts(_Counted(key, image_size, folder)))


def model_without_numbers(folder: ModelParts) -> LatentDiffusion:
    """A model of shapes alone, on the meta device, with its decoder."""
    noising = None if folder.network is None else load_noising(folder)
    guidance = 1.0 if folder.takes_guidance else None
    meta = torch.device("meta")
    return load_family(folder, noising, "fp32", meta, False, True, guidance, load=build_without_numbers)


@dataclass(frozen=True)
class _Counted:
    """A model's configuration as a key."""

    key: str
    image_size: int
    folder: ModelParts = field(compare=False)


@lru_cache(maxsize=64)
def _count_parts(counted: _Counted) -> dict[str, int]:
    # Kept, since every layer is run without numbers: that takes longer than extraction by a tiny model.
    folder, image_size, meta = counted.folder, counted.image_size, torch.device("meta")
    model = model_without_numbers(folder)
    macs = dict.fromkeys(("vae_encoder", "vae_decoder", "unet"), 0)
    images = torch.empty(1, 3, image_size, image_size, device=meta)
    latents = torch.empty(1, *folder.latent_shape(image_size), device=meta)
    if folder.vae is not None:
        macs |= {"vae_encoder": _count(lambda: model.vae.encode(images))}
        macs |= {"vae_decoder": _count(lambda: model.vae.decode(latents))}
    if folder.network is not None:
        level = NoiseLevel(0.0 if folder.is_flow else 0, torch.ones(()), torch.zeros(()))
        condition = model.empty_condition() if folder.has_text else None
        macs["unet"] = _count(lambda: model.predict(latents, level, condition))
    return macs


def _count(call: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops()) // 2


def count_macs_by_format(
    folder: ModelParts, image_size: int, calls: tuple[int, int], compute_dtype: ComputeDtype
) -> dict[str, int]:
    """Multiply-accumulate operations for one image, by the number format that they are done in.

    Args:
        folder: The model.
        image_size: Side of the canvas in px.
        calls: Noise predictions and reconstructions an image.
        compute_dtype: The networks' number formats.
    """
    macs, (network, autoencoder) = count_macs_by_part(folder, image_size), split_formats(compute_dtype)
    found = Counter({autoencoder: macs["vae_encoder"] + calls[1] * macs["vae_decoder"]})
    found[network] += calls[0] * macs["unet"]
    return {name: count for name, count in found.items() if count}


def seconds_on(device: str, macs: Mapping[str, int]) -> float:
    """Assumed seconds of an image by its operations in each number format."""
    return sum(count / ASSUMED_MACS_PER_SECOND[device][name] for name, count in macs.items())


def expected_rate(given: float | None, reports: Iterable[ShardReport], macs: Mapping[str, int], device: str) -> Rate:
    """Images a second of one device: as given, else as the finished stores took, else from the operations.

    Args:
        given: The user's figure.
        reports: What is known of the stores.
        macs: Operations an image, from `count_macs_by_format`.
        device: `cuda` or `cpu`.
    """
    if given is not None:
        return Rate(given, "as given")
    timed = [report for report in reports if report.seconds > 0]
    if timed:
        rate = sum(report.num_rows for report in timed) / sum(report.seconds for report in timed)
        return Rate(rate, f"the mean of {len(timed)} finished stores")
    assumed = " and ".join(f"{ASSUMED_MACS_PER_SECOND[device][name] / 1e12:g} TMAC/s in {name}" for name in macs)
    return Rate(
        1 / max(seconds_on(device, macs), 1e-12), f"assuming {assumed}; pass --images_per_second if you know better"
    )
