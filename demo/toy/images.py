"""Images of a toy diffusion model: from photographs, from class prompts, and photographs merely encoded and decoded."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]

from demo.toy.config import SourceConfig, digest
from demo.toy.model import GENERIC_PROMPT, PROMPT_TEMPLATE
from demo.toy.photos import Tile
from train.scoring import readings

# diffusers' classes are untyped.
SAMPLER: Any = DDIMScheduler
TEXT_TO_IMAGE: Any = StableDiffusionPipeline
IMAGE_TO_IMAGE: Any = StableDiffusionImg2ImgPipeline

CLASS_NAMES = (
    *("daisy", "dandelion", "roses", "sunflowers", "tulips"),
    *("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"),
)
"""What the toy models were trained on."""


def prompt_of(class_name: str | None) -> str:
    """The class prompt, or the generic one where the class is unknown."""
    return GENERIC_PROMPT if class_name is None else PROMPT_TEMPLATE.format(class_name=class_name)


def gradient_energy(pixels: np.ndarray) -> float:
    """Mean squared difference of neighbouring pixels' luma, as the reading of that name has it (with a minus)."""
    return -readings.gradient_energy(pixels)


def to_8_bit(images: np.ndarray) -> np.ndarray:
    """[0, 1] → uint8, rounded to nearest."""
    return np.round(images.clip(0, 1) * 255).astype(np.uint8)


class ToyModel:
    """A toy diffusion model as a maker of images. An image depends on (seed, source, name), not on its batch.

    Args:
        letter: Which of the toy models it is; part of its sources' names.
        pipeline: Any Stable Diffusion pipeline of diffusers.
        config: How the images are made.
    """

    pool: Pool | None = None
    """Processes of `start_pool` that make batches for this one."""

    def __init__(self, letter: str, pipeline: Any, config: SourceConfig) -> None:
        """Take the pipeline's models, with the DDIM sampler."""
        self.letter = letter
        self.img2img_source, self.sample_source = f"toy-{letter}-img2img", f"toy-{letter}"
        self.roundtrip_source, self.guidance_source = f"vae-roundtrip-{letter}", f"toy-{letter}-guidance"
        self.config = config
        models = pipeline.components
        # Latents are not clipped, as a scheduler's own default might.
        sampler = SAMPLER.from_config(models["scheduler"].config, clip_sample=False)
        parts = {**models, "scheduler": sampler}
        self.pipeline = TEXT_TO_IMAGE(**parts, requires_safety_checker=False)
        self.img2img_pipeline = IMAGE_TO_IMAGE(**parts, requires_safety_checker=False)
        for p in (self.pipeline, self.img2img_pipeline):
            p.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, letter: str, folder: Path, config: SourceConfig) -> "ToyModel":
        """Load a Stable Diffusion folder, from local files only, in float32."""
        pipeline = TEXT_TO_IMAGE.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            safety_checker=None,
            requires_safety_checker=False,
        )
        return cls(letter, pipeline, config)

    def rngs(self, image_source: str, names: Sequence[str]) -> list[torch.Generator]:
        """A generator an image."""
        seeds = [digest(f"demo/1|{self.config.seed}|{image_source}|{name}") for name in names]
        return [torch.Generator().manual_seed(s) for s in seeds]

    def each(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[np.ndarray]:
        """The images of several calls of one of the methods below, in the order of the calls.

        With a `pool` several calls are done at once. What they give is the same.
        """
        if self.pool is None:
            return (getattr(self, method)(*call) for call in calls)
        return self.pool.imap(partial(_call, self.letter, method), calls)

    def img2img(self, tiles: Sequence[Tile], strength: float) -> np.ndarray:
        """Noise the tiles part of the way and denoise them: (batch, 64, 64, 3) uint8."""
        images = self.img2img_pipeline(
            [prompt_of(t.class_name) for t in tiles],
            image=_stack(tiles).astype(np.float32) / 255,
            strength=strength,
            num_inference_steps=self.config.num_steps,
            guidance_scale=self.config.img2img_guidance,
            generator=self.rngs(self.img2img_source, [t.name for t in tiles]),
            output_type="np",
        ).images
        return to_8_bit(images)

    def sample(self, class_names: Sequence[str], rngs: Sequence[torch.Generator], guidance: float) -> np.ndarray:
        """Images of classes, from pure noise: (batch, 64, 64, 3) uint8."""
        images = self.pipeline(
            [prompt_of(c) for c in class_names],
            num_inference_steps=self.config.num_steps,
            guidance_scale=guidance,
            generator=list(rngs),
            output_type="np",
        ).images
        return to_8_bit(images)

    def sample_named(
        self, class_names: Sequence[str], noise_source: str, names: Sequence[str], guidance: float
    ) -> np.ndarray:
        """As `sample`, from noise that is a function of `noise_source` and each image's name."""
        return self.sample(class_names, self.rngs(noise_source, names), guidance)

    @torch.no_grad()
    def roundtrip(self, tiles: Sequence[Tile]) -> np.ndarray:
        """Encode and decode, all that img2img does but the diffusion: (batch, 64, 64, 3) uint8."""
        vae = self.pipeline.vae
        pixels = torch.from_numpy(_stack(tiles)).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents = vae.encode(pixels).latent_dist.sample(self.rngs(self.roundtrip_source, [t.name for t in tiles]))
        decoded = vae.decode(latents).sample.permute(0, 2, 3, 1).numpy()
        return to_8_bit(decoded / 2 + 0.5)


def load_models(config: SourceConfig, *folders: Path) -> list[ToyModel]:
    """The toy models of some folders, called a, b, … in that order."""
    return [ToyModel.load(letter, folder, config) for letter, folder in zip(ascii_lowercase, folders, strict=False)]


_CHOSEN: list[Any] = []
_MODELS: dict[str, ToyModel] = {}
"""Of a process of `start_pool`, by letter."""


def start_pool(config: SourceConfig, folders: Sequence[Path], num_processes: int) -> Pool:
    """Processes that have the toy models of some folders, and make batches for models whose `pool` this is.

    They are forked, so that they need not import the libraries again: this process must not have computed anything
    with torch. Each computes with as many threads as this one, because the number decides how sums are rounded, and
    with that some images' last bits.

    Args:
        config: How the images are made.
        folders: Those of `load_models`.
        num_processes: How many batches are made at once.
    """
    return get_context("fork").Pool(num_processes, _choose, (config, *folders))


def _choose(config: SourceConfig, *folders: Path) -> None:
    # Nothing that may fail: a pool starts a process anew for each that ends here, for ever.
    _CHOSEN[:] = [config, *folders]


def _call(letter: str, method: str, call: tuple[Any, ...]) -> np.ndarray:
    if not _MODELS:
        _MODELS.update({model.letter: model for model in load_models(*_CHOSEN)})
    images: np.ndarray = getattr(_MODELS[letter], method)(*call)
    return images


def _stack(tiles: Sequence[Tile]) -> np.ndarray:
    return np.stack([t.pixels for t in tiles])


def blur_to_energy(pixels: np.ndarray, energy: float, steps: int = 20) -> tuple[np.ndarray, float]:
    """Blur a photograph until its gradient energy is no more than `energy`.

    Args:
        pixels: (h, w, 3) uint8.
        energy: Gradient energy to reach.
        steps: Bisections of sigma.

    Returns:
        The blurred photograph, (h, w, 3) uint8, and sigma in pixels: 0 where the photograph has no more energy.
    """

    def blur(sigma: float) -> np.ndarray:
        return to_8_bit(gaussian_filter(pixels / 255, (sigma, sigma, 0), mode="reflect"))

    if gradient_energy(pixels) <= energy:
        return pixels, 0.0
    low, high = 0.0, 1.0
    # A picture blurred by its own size is as flat as it gets.
    while gradient_energy(blur(high)) > energy and high < max(pixels.shape):
        high *= 2
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if gradient_energy(blur(middle)) > energy else (low, middle)
    return blur(high), high
