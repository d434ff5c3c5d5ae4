"""Images of the toy models that have an autoencoder: Stable Diffusion's noise predictor, and a flow's transformer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from torch import Tensor

from demo.toy.config import SourceConfig
from demo.toy.flow_model import ZeroTokensAsOne, encode_texts
from demo.toy.images import ToyModel, prompt_of, stack_tiles, to_8_bit, to_unit_range
from demo.toy.photos import Tile

# diffusers' classes are untyped.
DDIM: Any = DDIMScheduler
EULER: Any = FlowMatchEulerDiscreteScheduler
TEXT_TO_IMAGE: Any = StableDiffusionPipeline
IMAGE_TO_IMAGE: Any = StableDiffusionImg2ImgPipeline
FLOW: Any = StableDiffusion3Pipeline
LOCAL = {"dtype": torch.float32, "local_files_only": True, "use_safetensors": True, "low_cpu_mem_usage": False}


class LatentToyModel(ToyModel):
    """A toy model with an autoencoder.

    Args:
        letter: Which of the toy models it is.
        pipeline: A pipeline of diffusers.
        config: How the images are made.
    """

    def __init__(self, letter: str, pipeline: Any, config: SourceConfig) -> None:
        """Take the pipeline."""
        super().__init__(letter, config)
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def encode(self, tiles: Sequence[Tile], rngs: Sequence[torch.Generator]) -> Tensor:
        """Latents of the tiles, unscaled, (batch, c, h, w)."""
        pixels = to_unit_range(stack_tiles(tiles))
        latents: Tensor = self.pipeline.vae.encode(pixels).latent_dist.sample(list(rngs))
        return latents

    @torch.no_grad()
    def roundtrip(self, tiles: Sequence[Tile]) -> np.ndarray:
        """Encode and decode: (batch, 64, 64, 3) uint8."""
        latents = self.encode(tiles, self.rngs(self.roundtrip_source, [t.name for t in tiles]))
        decoded = self.pipeline.vae.decode(latents).sample.permute(0, 2, 3, 1).numpy()
        return to_8_bit(decoded / 2 + 0.5)


class StableDiffusionToy(LatentToyModel):
    """Images by diffusers' own Stable Diffusion pipelines, with DDIM."""

    def __init__(self, letter: str, pipeline: Any, config: SourceConfig) -> None:
        """Take the pipeline's models, with the DDIM sampler."""
        models = pipeline.components
        # Latents are not clipped, as a scheduler's own default might.
        parts = {**models, "scheduler": DDIM.from_config(models["scheduler"].config, clip_sample=False)}
        super().__init__(letter, TEXT_TO_IMAGE(**parts, requires_safety_checker=False), config)
        self.img2img_pipeline = IMAGE_TO_IMAGE(**parts, requires_safety_checker=False)
        self.img2img_pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, letter: str, folder: Path, config: SourceConfig) -> Self:
        """Load a Stable Diffusion folder."""
        pipeline = TEXT_TO_IMAGE.from_pretrained(folder, **LOCAL, safety_checker=None, requires_safety_checker=False)
        return cls(letter, pipeline, config)

    def img2img(self, tiles: Sequence[Tile], strength: float) -> np.ndarray:
        """The last `strength` of the steps."""
        images = self.img2img_pipeline(
            [prompt_of(t.class_name) for t in tiles],
            image=stack_tiles(tiles).astype(np.float32) / 255,
            strength=strength,
            num_inference_steps=self.config.num_steps,
            guidance_scale=self.config.img2img_guidance,
            generator=self.rngs(self.img2img_source, [t.name for t in tiles]),
            output_type="np",
        ).images
        return to_8_bit(images)

    def sample(self, class_names: Sequence[str], rngs: Sequence[torch.Generator], guidance: float) -> np.ndarray:
        """All steps."""
        images = self.pipeline(
            [prompt_of(c) for c in class_names],
            num_inference_steps=self.config.num_steps,
            guidance_scale=guidance,
            generator=list(rngs),
            output_type="np",
        ).images
        return to_8_bit(images)


class FlowToy(LatentToyModel):
    """Images by diffusers' own Stable Diffusion 3 pipeline, with Euler steps from the noise level `strength` or 1."""

    def __init__(self, letter: str, pipeline: Any, config: SourceConfig) -> None:
        """Take the pipeline's models, with a sampler that takes noise levels as they are."""
        scheduler = EULER.from_config(pipeline.scheduler.config, shift=1.0, use_dynamic_shifting=False)
        super().__init__(letter, FLOW(**{**pipeline.components, "scheduler": scheduler}), config)
        pipeline.transformer.set_attn_processor(ZeroTokensAsOne())

    @classmethod
    def load(cls, letter: str, folder: Path, config: SourceConfig) -> Self:
        """Load a Stable Diffusion 3 folder; a T5 is left out."""
        t5 = ("text_encoder_3", "tokenizer_3")  # what is not there must be named as missing
        missing = {name: None for name in t5 if not (folder / name).is_dir()}
        return cls(letter, FLOW.from_pretrained(folder, **LOCAL, **missing), config)

    def img2img(self, tiles: Sequence[Tile], strength: float) -> np.ndarray:
        """Mix the encoded tiles with the share `strength` of noise, and go back from there."""
        rngs = self.rngs(self.img2img_source, [t.name for t in tiles])
        vae = self.pipeline.vae.config
        latents = (self.encode(tiles, rngs) - vae.shift_factor) * vae.scaling_factor
        noise = torch.stack([torch.randn(latents.shape[1:], generator=rng) for rng in rngs])
        noisy = (1 - strength) * latents + strength * noise
        prompts = [prompt_of(t.class_name) for t in tiles]
        return self._denoise(prompts, strength, self.config.img2img_guidance, latents=noisy)

    def sample(self, class_names: Sequence[str], rngs: Sequence[torch.Generator], guidance: float) -> np.ndarray:
        """All steps."""
        return self._denoise([prompt_of(c) for c in class_names], 1.0, guidance, generator=list(rngs))

    def _denoise(self, prompts: Sequence[str], strength: float, guidance: float, **start: Any) -> np.ndarray:
        num_steps = int(strength * self.config.num_steps)
        context, pooled = encode_texts(self.pipeline, prompts)
        no_context, no_pooled = encode_texts(self.pipeline, [""] * len(prompts))
        images = self.pipeline(
            prompt_embeds=context,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=no_context,
            negative_pooled_prompt_embeds=no_pooled,
            sigmas=(strength * np.arange(num_steps, 0, -1) / num_steps).tolist(),
            guidance_scale=guidance,
            output_type="np",
            **start,
        ).images
        return to_8_bit(images)
