"""Train the toy latent diffusion model: `python -m demo.toy.ldm train --images FOLDER --out FOLDER`.

The result is a Stable Diffusion folder in miniature (VAE, UNet, CLIP text encoder, tokenizer, scheduler), which stage 1
loads by path like any other model. FOLDER holds `…/<class>/<photograph>`; the class is the text condition.

Training goes in two parts, VAE then UNet, each a fixed number of steps; of each, the averaged (EMA) weights with the
lowest loss on held-out photographs are kept. The state is written every few minutes, and the same command goes on from
it: `--minutes` ends a sitting. What a step sees is a function of (seed, part, step), so a resumed run sees what an
uninterrupted one would have seen.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from torch import Tensor
from tqdm import tqdm

from demo.toy.crops import Photos, crop_randomly, to_tensor
from demo.toy.model import (
    GENERIC_PROMPT,
    PROMPT_TEMPLATE,
    ToyConfig,
    build_pipeline,
    encode_prompts,
)
from demo.toy.training import Part, run_as_program, save_model, save_sheet, sitting

DEFAULTS = ToyConfig()


def image_gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along x and y of (batch, c, h, w), cut to (batch, c, h-1, w-1)."""
    dx = images[..., :-1, 1:] - images[..., :-1, :-1]
    dy = images[..., 1:, :-1] - images[..., :-1, :-1]
    return dx, dy


def vae_loss(vae: AutoencoderKL, images: Tensor, config: ToyConfig) -> Tensor:
    """L1 on pixels, on their gradients, and on the local mean of the gradient's size; a light KL.

    The second term sharpens edges, the third keeps texture whose exact place cannot be coded: without it the decoder
    averages fine detail away and every decoded image is smoother than a photograph.
    """
    # bfloat16 halves the time of this part on a CPU that has it; the UNet gains nothing from it there.
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.sample()).sample.float()
    (dx, dy), (tx, ty) = image_gradients(decoded), image_gradients(images)
    edges = F.l1_loss(dx, tx) + F.l1_loss(dy, ty)
    size, target_size = dx.abs() + dy.abs(), tx.abs() + ty.abs()
    texture = F.l1_loss(F.avg_pool2d(size, 4), F.avg_pool2d(target_size, 4))
    kl = posterior.kl().float().mean() / posterior.mean[0].numel()
    return F.l1_loss(decoded, images) + edges + config.vae_texture_weight * texture + config.vae_kl_weight * kl


@torch.no_grad()
def vae_quality(vae: AutoencoderKL, images: Tensor) -> dict[str, float]:
    """PSNR in dB and the share of the images' gradient energy that a round trip keeps."""
    decoded = vae.decode(vae.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
    mse = (decoded - images).square().mean(dim=(1, 2, 3))
    energy = [sum(g.square().sum().item() for g in image_gradients(x)) for x in (decoded, images)]
    return {"psnr_db": (10 * torch.log10(4 / mse)).mean().item(), "kept_gradient_energy": energy[0] / energy[1]}


def train_vae(
    vae: AutoencoderKL, photos: Photos, held_out: Photos, config: ToyConfig, out: Path, deadline: float | None
) -> None:
    """Train the autoencoder; leave the best averaged weights in it."""
    part = Part("vae", vae, config.vae_steps, config.vae_learning_rate, config, out, deadline)
    images = held_out.batch(128, np.random.default_rng(1))

    def measure() -> dict[str, float]:
        torch.manual_seed(1)  # of the posterior's sample; the next step seeds anew
        loss = vae_loss(vae, images, config).item()
        save_sheet(out / "vae-sheet.png", [images[:16], vae(images[:16]).sample])
        return {"held_out_loss": loss, **vae_quality(vae, images)}

    for rng in part.rngs():
        part.update(vae_loss(vae, photos.batch(config.vae_batch_size, rng), config))
        part.evaluate(measure)
    part.finish()


@torch.no_grad()
def encode_photos(vae: AutoencoderKL, photos: Photos, crops: int, seed: int) -> tuple[Tensor, Tensor, list[str]]:
    """Latent means and standard deviations, (photos * crops, c, h, w), of a fixed set of crops, and their classes."""
    means, stds, names = [], [], []
    for i in tqdm(range(len(photos.pixels)), desc="latents", mininterval=5):
        rng = np.random.default_rng([seed, i])
        posterior = vae.encode(to_tensor([crop_randomly(photos.pixels[i], rng) for _ in range(crops)])).latent_dist
        means.append(posterior.mean.half())
        stds.append(posterior.std.half())
        names += [photos.class_names[i]] * crops
    return torch.cat(means), torch.cat(stds), names


class PromptShares(Protocol):
    """What `drop_prompts` needs of a model's settings."""

    empty_prompt_fraction: float
    generic_prompt_fraction: float


def draw_latents(mean: Tensor, std: Tensor, scaling: float) -> Tensor:
    """A posterior sample, scaled to unit variance."""
    return (mean.float() + std.float() * torch.randn(mean.shape)) * scaling


def drop_prompts(class_names: np.ndarray, rng: np.random.Generator, config: PromptShares) -> np.ndarray:
    """Replace a share of the classes by no prompt, which guidance needs, and another by the generic one."""
    drawn = rng.random(len(class_names))
    is_generic = drawn < config.empty_prompt_fraction + config.generic_prompt_fraction
    return np.where(drawn < config.empty_prompt_fraction, "", np.where(is_generic, GENERIC_PROMPT, class_names))


def train_unet(
    pipeline: StableDiffusionPipeline,
    photos: Photos,
    held_out: Photos,
    config: ToyConfig,
    out: Path,
    deadline: float | None,
) -> None:
    """Train the noise predictor on the frozen VAE's latents; leave the best averaged weights in it."""
    unet, scheduler = pipeline.unet, pipeline.scheduler
    mean, std, names = encode_photos(pipeline.vae, photos, config.crops_per_photo, config.seed)
    pipeline.vae.register_to_config(scaling_factor=round(1 / mean.float().std().item(), 5))
    scaling = pipeline.vae.config.scaling_factor
    embeddings = encode_prompts(pipeline, ["", GENERIC_PROMPT, *sorted(set(names))])
    classes = np.array(names)

    val_mean, val_std, val_names = encode_photos(pipeline.vae, held_out, 2, config.seed + 1)
    torch.manual_seed(2)
    val = draw_latents(val_mean, val_std, scaling)
    val_noise, val_time = torch.randn(val.shape), torch.arange(len(val)) * 619 % 1000
    val_text = torch.stack([embeddings[n] for n in val_names])

    def loss_of(latents: Tensor, noise: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        return F.mse_loss(unet(scheduler.add_noise(latents, noise, timestep), timestep, text).sample, noise)

    part = Part("unet", unet, config.unet_steps, config.unet_learning_rate, config, out, deadline)
    for rng in part.rngs():
        rows = rng.integers(0, len(mean), config.unet_batch_size)
        prompts = drop_prompts(classes[rows], rng, config)
        latents = draw_latents(mean[rows], std[rows], scaling)
        timestep = torch.randint(0, 1000, (len(rows),))
        text = torch.stack([embeddings[p] for p in prompts])
        part.update(loss_of(latents, torch.randn(latents.shape), timestep, text))
        part.evaluate(lambda: {"held_out_loss": loss_of(val, val_noise, val_time, val_text).item()})
    part.finish()


def sample_sheet(pipeline: StableDiffusionPipeline, class_names: list[str], path: Path) -> None:
    """Eight images of each class at guidance 3, one row a class."""
    scheduler, pipeline.scheduler = pipeline.scheduler, DDIMScheduler.from_config(pipeline.scheduler.config)
    rows = []
    for name in class_names:
        images = pipeline(
            [PROMPT_TEMPLATE.format(class_name=name)] * 8,
            num_inference_steps=20,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).images
        rows.append(images * 2 - 1)
    pipeline.scheduler = scheduler
    save_sheet(path, rows)


def train(images: Path, out: Path, settings: ToyConfig = DEFAULTS, minutes: float | None = None) -> None:
    """Train both parts, going on from what `out` holds, and save the model folder `out/model` in float16.

    Args:
        images: Folder of `<class>/<photograph>`.
        out: Folder for states, logs, sheets, loss curves and the finished model.
        settings: What decides the weights.
        minutes: Length of this sitting: what is not done by then is left to the next call.
    """
    with sitting(out, minutes) as deadline:
        photos, held_out = Photos.load(images)
        pipeline = build_pipeline(settings, photos.class_names)
        train_vae(pipeline.vae, photos, held_out, settings, out, deadline)
        pipeline.vae.eval().requires_grad_(False)
        train_unet(pipeline, photos, held_out, settings, out, deadline)
        pipeline.unet.eval()
        sample_sheet(pipeline, sorted(set(photos.class_names)), out / "samples.png")
        save_model(pipeline, out, "vae", "unet")


if __name__ == "__main__":
    run_as_program(train)
