"""The demo's image sources, made from the photo tiles by the toy model, packed as a dataset.

`real` are the tiles, `toy-a-img2img` and `toy-a` are generated, `vae-roundtrip-a` and `blurred-real` are controls: they
have no label, and exist for the test photographs only. Every image goes through `encode_png`, real ones too.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from cache_schema import Dataset, Sample, SampleFields, sample_key, write_dataset
from demo.photos import ROLES, SHORT_SIDE_PX, TILE_PX, Tile
from demo.toy_model import GENERIC_PROMPT, PROMPT_TEMPLATE
from train import readings

logger = logging.getLogger(__name__)
T = TypeVar("T")

CLASS_NAMES = (
    *("daisy", "dandelion", "roses", "sunflowers", "tulips"),
    *("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"),
)
"""What the toy model was trained on."""
SUBSET = "demo"
REAL, IMG2IMG, SAMPLED, ROUNDTRIP, BLURRED = "real", "toy-a-img2img", "toy-a", "vae-roundtrip-a", "blurred-real"
CONTROLS = (ROUNDTRIP, BLURRED)
LABELS = {REAL: 0, IMG2IMG: 1, SAMPLED: 1, ROUNDTRIP: None, BLURRED: None}


@dataclass(frozen=True)
class SourceConfig:
    """How the images are made."""

    seed: int = 0
    """Decides every image, with its name."""
    strength: float = 0.5
    """Share of the noising that img2img goes through: `toy-a-img2img` keeps the content of its photograph."""
    img2img_guidance: float = 1.0
    """1 is no guidance: the prompt "a photo" says nothing about the content."""
    sample_guidance: float = 3.0
    """Guidance of the class prompts."""
    num_steps: int = 20
    """DDIM steps from pure noise; img2img takes the last `strength` of them."""
    batch_size: int = 64
    """Images a call. Changes nothing but the time."""


@dataclass(frozen=True)
class Made:
    """One image on its way into the dataset."""

    image_source: str
    name: str
    pixels: np.ndarray
    """(64, 64, 3) uint8."""
    split: str
    group: str | None
    """None: a group of its own."""
    derived_from: str | None = None
    class_name: str | None = None


def encode_png(pixels: np.ndarray) -> bytes:
    """The one way from pixels, (h, w, 3) uint8, to a file: no source can be told by its format."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image_path(image_source: str, name: str) -> str:
    """Path of an image below the packed root."""
    return f"{image_source}/{name}.png"


def as_sample(made: Made) -> Sample:
    """Encode an image and fill in its fields."""
    data = encode_png(made.pixels)
    path = image_path(made.image_source, made.name)
    fields = SampleFields(
        label=LABELS[made.image_source],
        image_source=made.image_source,
        subset=SUBSET,
        split=made.split,
        group=made.group or sample_key(path),
        derived_from=made.derived_from,
        class_name=made.class_name,
        source_path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        width=made.pixels.shape[1],
        height=made.pixels.shape[0],
        format="PNG",
        jpeg_quality=None,
    )
    return Sample(sample_key(path), "png", data, fields)


def gradient_energy(pixels: np.ndarray) -> float:
    """Mean squared difference of neighbouring pixels' luma, as the reading of that name has it (with a minus)."""
    return -readings.gradient_energy(pixels)


def to_8_bit(images: np.ndarray) -> np.ndarray:
    """[0, 1] → uint8, rounded to nearest."""
    return np.round(images.clip(0, 1) * 255).astype(np.uint8)


class ToyModel:
    """The toy diffusion model as a maker of images. An image depends on (seed, source, name), not on its batch.

    Args:
        pipeline: Any Stable Diffusion pipeline of diffusers.
        config: How the images are made.
    """

    def __init__(self, pipeline: Any, config: SourceConfig) -> None:
        """Take the pipeline's models, with the DDIM sampler."""
        models = pipeline.components
        scheduler = DDIMScheduler.from_config(models["scheduler"].config)
        self.config = config
        self.pipeline: Any = StableDiffusionPipeline(
            **{**models, "scheduler": scheduler}, requires_safety_checker=False
        )
        self.img2img_pipeline: Any = StableDiffusionImg2ImgPipeline(
            **self.pipeline.components, requires_safety_checker=False
        )
        for p in (self.pipeline, self.img2img_pipeline):
            p.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, folder: Path, config: SourceConfig) -> "ToyModel":
        """Load a Stable Diffusion folder, from local files only, in float32."""
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            safety_checker=None,
            requires_safety_checker=False,
        )
        return cls(pipeline, config)

    def rngs(self, image_source: str, names: Sequence[str]) -> list[torch.Generator]:
        """A generator an image."""
        texts = [f"demo/1|{self.config.seed}|{image_source}|{name}" for name in names]
        seeds = [int.from_bytes(hashlib.sha256(t.encode()).digest()[:4], "little") for t in texts]
        return [torch.Generator().manual_seed(s) for s in seeds]

    def img2img(self, tiles: Sequence[Tile]) -> np.ndarray:
        """Noise the tiles half way and denoise them: (batch, 64, 64, 3) uint8."""
        images = self.img2img_pipeline(
            [GENERIC_PROMPT] * len(tiles),
            image=_stack(tiles).astype(np.float32) / 255,
            strength=self.config.strength,
            num_inference_steps=self.config.num_steps,
            guidance_scale=self.config.img2img_guidance,
            generator=self.rngs(IMG2IMG, [t.name for t in tiles]),
            output_type="np",
        ).images
        return to_8_bit(images)

    def sample(self, class_names: Sequence[str], names: Sequence[str]) -> np.ndarray:
        """Images of classes, from pure noise: (batch, 64, 64, 3) uint8."""
        images = self.pipeline(
            [PROMPT_TEMPLATE.format(class_name=c) for c in class_names],
            num_inference_steps=self.config.num_steps,
            guidance_scale=self.config.sample_guidance,
            generator=self.rngs(SAMPLED, names),
            output_type="np",
        ).images
        return to_8_bit(images)

    @torch.no_grad()
    def roundtrip(self, tiles: Sequence[Tile]) -> np.ndarray:
        """Encode and decode, all that img2img does but the diffusion: (batch, 64, 64, 3) uint8."""
        vae = self.pipeline.vae
        pixels = torch.from_numpy(_stack(tiles)).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents = vae.encode(pixels).latent_dist.sample(self.rngs(ROUNDTRIP, [t.name for t in tiles]))
        decoded = vae.decode(latents).sample.permute(0, 2, 3, 1).numpy()
        return to_8_bit(decoded / 2 + 0.5)


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


def make_reals(tiles: Iterable[Tile]) -> Iterator[Made]:
    """The photographs themselves."""
    for tile in tiles:
        yield Made(REAL, tile.name, tile.pixels, tile.role, tile.group)


def _copies(image_source: str, tiles: Sequence[Tile], images: Iterable[np.ndarray]) -> Iterator[Made]:
    for tile, pixels in zip(tiles, images, strict=True):
        key = sample_key(image_path(REAL, tile.name))
        yield Made(image_source, tile.name, pixels, tile.role, tile.group, derived_from=key)


def make_samples(model: ToyModel, tiles: Sequence[Tile]) -> Iterator[Made]:
    """As many class samples for a role as it has photo tiles, the classes in turn."""
    todo = []
    for role in ROLES:
        for i in range(sum(t.role == role for t in tiles)):
            todo.append((f"{role}-{i:04d}", CLASS_NAMES[i % len(CLASS_NAMES)], role))
    for part in _batches(todo, model.config.batch_size):
        names, class_names, roles = zip(*part, strict=True)
        for name, class_name, role, pixels in zip(
            names, class_names, roles, model.sample(class_names, names), strict=True
        ):
            yield Made(SAMPLED, name, pixels, role, None, class_name=class_name)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _in_batches(make: Callable[[Sequence[Tile]], np.ndarray], tiles: Sequence[Tile], size: int) -> Iterator[np.ndarray]:
    for part in _batches(tiles, size):
        yield from make(part)


def build_dataset(
    folder: Path, tiles: Sequence[Tile], model: ToyModel, *, max_rows: int = 256, progress: bool = True
) -> Dataset:
    """Make all sources and pack them.

    Args:
        folder: New folder; must not exist.
        tiles: Photo tiles with their roles.
        model: The toy model.
        max_rows: Samples a tar: small, so that even the demo has several shards of each split.
        progress: Show a bar.

    Returns:
        The dataset, shuffled with the config's seed. Its settings tell how the images were made, and how many of the
        `blurred-real` are unblurred because their photograph has no more gradient energy than its img2img copy.
    """
    config = model.config
    test = [t for t in tiles if t.role == "test"]
    total = 3 * len(tiles) + len(CONTROLS) * len(test)
    made: list[Made] = []
    with tqdm(total=total, desc="images", unit="image", disable=None if progress else True) as bar:

        def take(images: Iterable[Made]) -> None:
            for image in images:
                made.append(image)
                bar.update()

        take(make_reals(tiles))
        take(_copies(IMG2IMG, tiles, _in_batches(model.img2img, tiles, config.batch_size)))
        fakes = {m.name: m.pixels for m in made if m.image_source == IMG2IMG}
        take(make_samples(model, tiles))
        take(_copies(ROUNDTRIP, test, _in_batches(model.roundtrip, test, config.batch_size)))
        blurred = [blur_to_energy(t.pixels, gradient_energy(fakes[t.name])) for t in test]
        take(_copies(BLURRED, test, [pixels for pixels, _ in blurred]))
    sigmas = np.array([sigma for _, sigma in blurred])
    settings = {
        **asdict(config),
        "short_side_px": SHORT_SIDE_PX,
        "tile_px": TILE_PX,
        "num_photographs": len({t.photo for t in tiles}),
        "blur_sigma_px_median": round(float(np.median(sigmas)), 3),
        "blur_sigma_px_max": round(float(sigmas.max()), 3),
        "num_unblurred": int((sigmas == 0).sum()),
    }
    logger.info("%d images; %d of %d blurred copies needed no blur", total, settings["num_unblurred"], len(test))
    order = np.random.default_rng(config.seed).permutation(len(made))
    return write_dataset(folder, (as_sample(made[i]) for i in order), settings, max_rows=max_rows)
