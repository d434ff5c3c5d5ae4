"""Distil a model's autoencoder: `python -m demo.toy.tiny_vae train --model FOLDER --images FOLDER --out FOLDER`.

The result is a diffusers `AutoencoderTiny` for the model's latents, which stage 1 takes by `--vae`. As in Stable
Diffusion's TAESD, its latents are the model's *scaled* ones, with a scaling factor of 1: the encoder learns the mean of
the model's posterior times the model's scaling factor, the decoder learns pixels from the model's latents.

`--minutes` ends a sitting; the same command goes on from the state that it wrote.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from demo.toy.crops import Photos
from demo.toy.ldm import image_gradients
from demo.toy.training import Part, run_as_program, save_folder, save_sheet, sitting


@dataclass(frozen=True)
class TinyVaeConfig:
    """What decides the trained weights."""

    seed: int = 0
    width: int = 16
    """Channels of all layers."""
    num_blocks: int = 2
    """Residual blocks at each resolution; one at the full resolution."""
    steps: int = 8000
    batch_size: int = 32
    learning_rate: float = 2e-3
    ema_decay: float = 0.999


DEFAULTS = TinyVaeConfig()


def build_student(teacher: AutoencoderKL, config: TinyVaeConfig) -> AutoencoderTiny:
    """An untrained autoencoder with the teacher's latent channels and stride."""
    torch.manual_seed(config.seed)
    num_levels = len(teacher.config.block_out_channels)
    blocks = (1, *(config.num_blocks,) * (num_levels - 1))
    return AutoencoderTiny(
        encoder_block_out_channels=(config.width,) * num_levels,
        decoder_block_out_channels=(config.width,) * num_levels,
        num_encoder_blocks=blocks,
        num_decoder_blocks=blocks[::-1],
        latent_channels=teacher.config.latent_channels,
        scaling_factor=1.0,
    )


@torch.no_grad()
def scaled_latents(teacher: AutoencoderKL, images: Tensor) -> Tensor:
    """The teacher's posterior mean as its UNet sees it, (b, c, h, w), of images (b, 3, S, S) in [-1, 1]."""
    mean: Tensor = teacher.encode(images).latent_dist.mode()
    return (mean - (teacher.config.shift_factor or 0.0)) * teacher.config.scaling_factor


def distillation_losses(student: AutoencoderTiny, images: Tensor, latents: Tensor) -> dict[str, Tensor]:
    """What the student is trained on, each a mean over elements.

    Args:
        student: Its encoder sees the images, its decoder the teacher's latents.
        images: (b, 3, S, S) in [-1, 1].
        latents: `scaled_latents` of them.

    Returns:
        "latents" (L1), "pixels" (L1), "edges" (L1 of forward differences).
    """
    decoded = student.decode(latents).sample
    gradients = zip(image_gradients(decoded), image_gradients(images), strict=True)
    return {
        "latents": F.l1_loss(student.encode(images).latents, latents),
        "pixels": F.l1_loss(decoded, images),
        "edges": torch.stack([F.l1_loss(ours, theirs) for ours, theirs in gradients]).sum(),
    }


@torch.no_grad()
def measure_quality(student: AutoencoderTiny, images: Tensor, latents: Tensor) -> dict[str, float]:
    """Share of the latents' variance that the encoder misses, and PSNR of a whole round trip in dB."""
    encoded = student.encode(images).latents
    missed = (encoded - latents).square().mean() / latents.var()
    mse = (student.decode(encoded).sample.clamp(-1, 1) - images).square().mean(dim=(1, 2, 3))
    return {"missed_variance": missed.item(), "psnr_db": (10 * torch.log10(4 / mse)).mean().item()}


def train(
    model: Path, images: Path, out: Path, settings: TinyVaeConfig = DEFAULTS, minutes: float | None = None
) -> None:
    """Train the small autoencoder, going on from what `out` holds, and save it as `out/vae` in float16.

    Args:
        model: Diffusers folder of the model whose autoencoder is the teacher.
        images: Folder of `<class>/<photograph>`, best those that trained the model.
        out: Folder for state, log, a sheet of round trips and the finished autoencoder.
        settings: What decides the weights.
        minutes: Length of this sitting: what is not done by then is left to the next call.
    """
    with sitting(out, minutes) as deadline:
        teacher = AutoencoderKL.from_pretrained(
            model / "vae",
            torch_dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
        )
        teacher.eval().requires_grad_(False)
        student = build_student(teacher, settings)
        photos, held_out = Photos.load(images)
        shown = held_out.batch(128, np.random.default_rng(1))
        shown_latents = scaled_latents(teacher, shown)
        part = Part("tiny_vae", student, settings.steps, settings.learning_rate, settings, out, deadline)

        def measure() -> dict[str, float]:
            losses = distillation_losses(student, shown, shown_latents)
            save_sheet(
                out / "tiny_vae-sheet.png", [shown[:16], student.decode(student.encode(shown[:16]).latents).sample]
            )
            return {"held_out_loss": sum(losses.values()).item(), **measure_quality(student, shown, shown_latents)}

        for rng in part.rngs():
            batch = photos.batch(settings.batch_size, rng)
            part.update(sum(distillation_losses(student, batch, scaled_latents(teacher, batch)).values()))
            part.evaluate(measure)
        part.finish()
        save_folder(student.half(), out / "vae")


if __name__ == "__main__":
    run_as_program(train)
