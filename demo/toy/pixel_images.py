"""Images of a toy diffusion model in pixel space."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import DDPMPipeline
from torch import Tensor

from demo.toy.config import SourceConfig
from demo.toy.images import CLASS_NAMES, ToyModel, stack_tiles, to_8_bit, to_unit_range
from demo.toy.photos import Tile
from demo.toy.pixel_model import denoise, sampler_of

PIPELINE: Any = DDPMPipeline  # diffusers' classes are untyped


class PixelToy(ToyModel):
    """Images by DDIM on the pixels themselves.

    Args:
        letter: Which of the toy models it is.
        pipeline: A DDPM pipeline of diffusers with a number for each of the classes, and one for none.
        config: How the images are made.

    Raises:
        ValueError: If the model knows other classes.
    """

    def __init__(self, letter: str, pipeline: Any, config: SourceConfig) -> None:
        """Take the pipeline's model and noise schedule."""
        super().__init__(letter, config)
        self.roundtrip_source = f"real-{letter}"
        self.unet = pipeline.unet
        self.sampler = sampler_of(pipeline, config.num_steps)
        found, expected = self.unet.config.num_class_embeds, len(CLASS_NAMES) + 1
        if found != expected:
            raise ValueError(f"toy model {letter} knows {found} classes, expected {expected}: the toy models' and none")

    @classmethod
    def load(cls, letter: str, folder: Path, config: SourceConfig) -> Self:
        """Load a DDPM folder."""
        pipeline = PIPELINE.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
        )
        return cls(letter, pipeline, config)

    def img2img(self, tiles: Sequence[Tile], strength: float) -> np.ndarray:
        """The last `strength` of the steps."""
        timesteps = self.sampler.timesteps[-int(strength * self.config.num_steps) :]
        noise = self._noise(self.rngs(self.img2img_source, [t.name for t in tiles]))
        noisy = self.sampler.add_noise(to_unit_range(stack_tiles(tiles)), noise, timesteps[:1])
        return self._denoise(noisy, [t.class_name for t in tiles], self.config.img2img_guidance, timesteps)

    def sample(self, class_names: Sequence[str], rngs: Sequence[torch.Generator], guidance: float) -> np.ndarray:
        """All steps."""
        return self._denoise(self._noise(rngs), class_names, guidance, self.sampler.timesteps)

    def roundtrip(self, tiles: Sequence[Tile]) -> np.ndarray:
        """The tiles as they are: without an autoencoder nothing happens to them but the diffusion."""
        return stack_tiles(tiles)

    def _noise(self, rngs: Sequence[torch.Generator]) -> Tensor:
        size = self.unet.config.sample_size
        return torch.stack([torch.randn((3, size, size), generator=rng) for rng in rngs])

    def _denoise(
        self, noisy: Tensor, class_names: Sequence[str | None], guidance: float, timesteps: Tensor
    ) -> np.ndarray:
        known = sorted(CLASS_NAMES)
        labels = torch.tensor([len(known) if name is None else known.index(name) for name in class_names])
        images = denoise(self.unet, self.sampler, noisy, labels, guidance, timesteps)
        return to_8_bit(images.permute(0, 2, 3, 1).numpy() / 2 + 0.5)
