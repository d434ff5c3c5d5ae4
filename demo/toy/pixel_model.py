"""The toy diffusion model in pixel space, untrained, and how it makes images."""

from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from demo.toy.model import IMAGE_SIZE_PX


@dataclass(frozen=True)
class PixelConfig:
    """What decides the trained weights."""

    seed: int = 0
    channels: tuple[int, ...] = (16, 48, 96, 112)
    """Of each resolution, from 64 px down; the lowest has attention."""
    steps: int = 4000
    batch_size: int = 8
    learning_rate: float = 8e-4
    no_class_fraction: float = 0.20
    """Share of the images that are shown without their class, which guidance needs."""
    ema_decay: float = 0.999


def build_pipeline(num_classes: int, config: PixelConfig) -> DDPMPipeline:
    """The untrained model: cosine noise schedule, v prediction, and a number more than there are classes."""
    torch.manual_seed(config.seed)
    plain = len(config.channels) - 1
    unet = UNet2DModel(
        sample_size=IMAGE_SIZE_PX,
        block_out_channels=config.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
        attention_head_dim=16,
        norm_num_groups=8,
        num_class_embeds=num_classes + 1,
    )
    scheduler = DDPMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"
    )
    return DDPMPipeline(unet, scheduler)


@torch.no_grad()
def denoise(
    unet: UNet2DModel, scheduler: DDIMScheduler, noisy: Tensor, labels: Tensor, guidance: float, timesteps: Tensor
) -> Tensor:
    """Images (b, 3, S, S) in [-1, 1] of noisy ones, by deterministic DDIM.

    Args:
        unet: With one class more than there are, the last, which means "no class".
        scheduler: Its steps are set.
        noisy: At the noise level of the first timestep.
        labels: Classes, (b,).
        guidance: 1 is no guidance.
        timesteps: All or the last of the scheduler's.
    """
    no_class = torch.full_like(labels, unet.config.num_class_embeds - 1)
    for t in timesteps:
        output = unet(noisy, t, labels).sample
        if guidance != 1:
            without = unet(noisy, t, no_class).sample
            output = without + guidance * (output - without)
        noisy = scheduler.step(output, t, noisy).prev_sample
    return noisy.clamp(-1, 1)


def sampler_of(pipeline: DDPMPipeline, num_steps: int) -> DDIMScheduler:
    """The pipeline's noise schedule as a DDIM sampler that starts from pure noise."""
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    scheduler.set_timesteps(num_steps)
    return scheduler
