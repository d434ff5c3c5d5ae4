"""Train the toy diffusion model in pixel space: `python -m demo.toy.pixel train --images FOLDER --out FOLDER`.

The result is a DDPM folder of diffusers: a UNet and a scheduler, without an autoencoder, so that no decoder leaves a
trace in its images. Classes are numbers, in alphabetical order; one more, the last, means "no class".

`--minutes` ends a sitting; the same command goes on from the state that it wrote.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from demo.toy.crops import Photos
from demo.toy.model import IMAGE_SIZE_PX
from demo.toy.pixel_model import PixelConfig, build_pipeline, denoise, sampler_of
from demo.toy.training import Part, run_as_program, save_model, save_sheet, sitting

DEFAULTS = PixelConfig()
SAMPLE_STEPS, SAMPLE_GUIDANCE = 20, 3.0


def velocity_loss(
    unet: UNet2DModel, scheduler: DDPMScheduler, images: Tensor, noise: Tensor, timestep: Tensor, labels: Tensor
) -> Tensor:
    """Mean squared error of the velocity √ᾱ · noise − √(1 − ᾱ) · images, predicted from the noised images."""
    noisy = scheduler.add_noise(images, noise, timestep)
    with torch.autocast("cpu", torch.bfloat16):  # a third faster on a CPU that has it
        velocity = unet(noisy, timestep, labels).sample.float()
    return F.mse_loss(velocity, scheduler.get_velocity(images, noise, timestep))


def train_unet(
    pipeline: DDPMPipeline, photos: Photos, held_out: Photos, config: PixelConfig, out: Path, deadline: float | None
) -> None:
    """Train the velocity predictor; leave the best averaged weights in it."""
    unet, scheduler = pipeline.unet, pipeline.scheduler
    names = sorted(set(photos.class_names))
    no_class = len(names)
    val, val_classes = held_out.labelled_batch(214, np.random.default_rng(1))
    torch.manual_seed(2)
    val_time = torch.arange(len(val)) * 619 % 1000
    held_out_inputs = val, torch.randn(val.shape), val_time, torch.tensor([names.index(c) for c in val_classes])

    part = Part("unet", unet, config.steps, config.learning_rate, config, out, deadline)
    for rng in part.rngs():
        images, classes = photos.labelled_batch(config.batch_size, rng)
        is_dropped = torch.from_numpy(rng.random(len(images)) < config.no_class_fraction)
        labels = torch.tensor([names.index(c) for c in classes]).where(~is_dropped, no_class)
        timestep = torch.randint(0, 1000, (len(images),))
        part.update(velocity_loss(unet, scheduler, images, torch.randn(images.shape), timestep, labels))
        part.evaluate(lambda: {"held_out_loss": velocity_loss(unet, scheduler, *held_out_inputs).item()})
    part.finish()


def sample_sheet(pipeline: DDPMPipeline, num_classes: int, path: Path) -> None:
    """Eight images of each class, one row a class, from the same noises."""
    scheduler = sampler_of(pipeline, SAMPLE_STEPS)
    noise = torch.randn((8, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX), generator=torch.Generator().manual_seed(0))
    labels = [torch.full((8,), i) for i in range(num_classes)]
    images = [denoise(pipeline.unet, scheduler, noise, c, SAMPLE_GUIDANCE, scheduler.timesteps) for c in labels]
    save_sheet(path, images)


def train(images: Path, out: Path, settings: PixelConfig = DEFAULTS, minutes: float | None = None) -> None:
    """Train the UNet, going on from what `out` holds, and save the model folder `out/model` in float16.

    Args:
        images: Folder of `<class>/<photograph>`.
        out: Folder for state, log, samples, loss curves and the finished model.
        settings: What decides the weights.
        minutes: Length of this sitting: what is not done by then is left to the next call.
    """
    with sitting(out, minutes) as deadline:
        photos, held_out = Photos.load(images)
        num_classes = len(set(photos.class_names))
        pipeline = build_pipeline(num_classes, settings)
        train_unet(pipeline, photos, held_out, settings, out, deadline)
        pipeline.unet.eval()
        sample_sheet(pipeline, num_classes, out / "samples.png")
        save_model(pipeline, out, "unet")


if __name__ == "__main__":
    run_as_program(train)
