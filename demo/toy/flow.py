"""Train the toy flow-matching transformer: `python -m demo.toy.flow train --model FOLDER --images FOLDER --out FOLDER`.

The result is a Stable Diffusion 3 folder in miniature. Its autoencoder is that of `--model`, which is not trained
again: the two models differ in the denoiser's architecture and objective alone.

`--minutes` ends a sitting; the same command goes on from the state that it wrote.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor

from cache_schema import new_opened
from demo.toy.crops import Photos
from demo.toy.flow_model import FlowConfig, ZeroTokensAsOne, build_pipeline, encode_prompts
from demo.toy.ldm import draw_latents, drop_prompts, encode_photos
from demo.toy.model import GENERIC_PROMPT
from demo.toy.training import Part, run_as_program, save_model, save_sheet, sitting

DEFAULTS = FlowConfig()
SAMPLE_STEPS, SAMPLE_GUIDANCE = 20, 3.0


def load_latents(
    pipeline: StableDiffusion3Pipeline, photos: Photos, config: FlowConfig, file: Path
) -> tuple[Tensor, Tensor, np.ndarray]:
    """As `encode_photos`, once: the next sitting reads the file.

    Raises:
        ValueError: If the file is of other photographs or another number of crops.
    """
    if not file.exists():
        mean, std, _ = encode_photos(pipeline.vae, photos, config.crops_per_photo, config.seed)
        with new_opened(file) as f:
            torch.save({"mean": mean, "std": std}, f)
    stored, number = torch.load(file, weights_only=True), len(photos.pixels) * config.crops_per_photo
    if len(stored["mean"]) != number:
        raise ValueError(f"{file} has the latents of {len(stored['mean'])} crops, expected {number}: remove it")
    return stored["mean"], stored["std"], np.repeat(photos.class_names, config.crops_per_photo)


def draw_sigmas(number: int, config: FlowConfig) -> Tensor:
    """Noise levels in (0, 1), (number,)."""
    return torch.sigmoid(torch.randn(number)) if config.is_logit_normal else torch.rand(number)


def velocity_loss(
    transformer: SD3Transformer2DModel, latents: Tensor, noise: Tensor, sigma: Tensor, context: Tensor, pooled: Tensor
) -> Tensor:
    """Flow matching: the mean squared error against noise − latents, at (1 − σ) · latents + σ · noise."""
    level = sigma.view(-1, 1, 1, 1)
    velocity = transformer((1 - level) * latents + level * noise, context, pooled, 1000 * sigma).sample
    return F.mse_loss(velocity, noise - latents)


def train_transformer(
    pipeline: StableDiffusion3Pipeline,
    photos: Photos,
    held_out: Photos,
    config: FlowConfig,
    out: Path,
    deadline: float | None,
) -> None:
    """Train the velocity predictor on the frozen VAE's latents; leave the best averaged weights in it."""
    transformer, scaling = pipeline.transformer, pipeline.vae.config.scaling_factor
    transformer.set_attn_processor(ZeroTokensAsOne())
    mean, std, classes = load_latents(pipeline, photos, config, out / "latents.pt")
    conditions = encode_prompts(pipeline, ["", GENERIC_PROMPT, *sorted(set(photos.class_names))])

    val_mean, val_std, val_names = encode_photos(pipeline.vae, held_out, 2, config.seed + 1)
    torch.manual_seed(2)
    val = draw_latents(val_mean, val_std, scaling)
    val_noise, val_sigma = torch.randn(val.shape), (torch.arange(len(val)) * 619 % 1000 + 0.5) / 1000

    def loss_of(latents: Tensor, noise: Tensor, sigma: Tensor, prompts: list[str]) -> Tensor:
        context, pooled = (torch.stack(c) for c in zip(*(conditions[p] for p in prompts), strict=True))
        return velocity_loss(transformer, latents, noise, sigma, context, pooled)

    part = Part("transformer", transformer, config.steps, config.learning_rate, config, out, deadline)
    for rng in part.rngs():
        rows = rng.integers(0, len(mean), config.batch_size)
        prompts = drop_prompts(classes[rows], rng, config).tolist()
        latents = draw_latents(mean[rows], std[rows], scaling)
        part.update(loss_of(latents, torch.randn(latents.shape), draw_sigmas(len(rows), config), prompts))
        part.evaluate(lambda: {"held_out_loss": loss_of(val, val_noise, val_sigma, val_names).item()})
    part.finish()


def sample_sheet(pipeline: StableDiffusion3Pipeline, class_names: list[str], path: Path) -> None:
    """Eight images of each class, one row a class."""
    conditions = encode_prompts(pipeline, ["", *class_names])
    rows = []
    for name in class_names:
        (context, pooled), (no_context, no_pooled) = conditions[name], conditions[""]
        images = pipeline(
            prompt_embeds=context.expand(8, -1, -1),
            pooled_prompt_embeds=pooled.expand(8, -1),
            negative_prompt_embeds=no_context.expand(8, -1, -1),
            negative_pooled_prompt_embeds=no_pooled.expand(8, -1),
            num_inference_steps=SAMPLE_STEPS,
            guidance_scale=SAMPLE_GUIDANCE,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).images
        rows.append(images * 2 - 1)
    save_sheet(path, rows)


def train(model: Path, images: Path, out: Path, settings: FlowConfig = DEFAULTS, minutes: float | None = None) -> None:
    """Train the transformer, going on from what `out` holds, and save the model folder `out/model` in float16.

    Args:
        model: Stable Diffusion folder whose autoencoder and tokenizer it gets.
        images: Folder of `<class>/<photograph>`, best those that trained the model.
        out: Folder for state, log, samples, loss curves and the finished model.
        settings: What decides the weights.
        minutes: Length of this sitting: what is not done by then is left to the next call.
    """
    with sitting(out, minutes) as deadline:
        photos, held_out = Photos.load(images)
        pipeline = build_pipeline(model, settings)
        train_transformer(pipeline, photos, held_out, settings, out, deadline)
        pipeline.transformer.eval()
        sample_sheet(pipeline, sorted(set(photos.class_names)), out / "samples.png")
        save_model(pipeline, out, "transformer")


if __name__ == "__main__":
    run_as_program(train)
