"""How fast images come to the models and maps to the disk: extraction with a constant in the models' place."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.pictures import make_jpegs, pack_jpegs
from bench.machine import one_core
from bench.runner import Context, Figure, rates, ratio, reading
from cache_schema import Cache, Fingerprint, ShardData, create_cache, decode_image, resize_canvas, store_name
from extract import POSTERIOR_DRAW, ExtractConfig, Inputs, RowSettings, load_row, sample_draws, sample_noise
from extract.models.prompts import PromptPolicy
from extract.run.pipeline import Extractor
from workflow.timing import alternate, timed

NAME = "feed_rate"
LATENT_CHANNELS, LATENT_STRIDE = 4, 8
"""Of Stable Diffusion 1.5."""


def gamma_maps(num_maps: int, shape: tuple[int, int, int], seed: int, num_draws: int = 4) -> np.ndarray:
    """Maps as LaRE's: means of squared normal errors, whose variance changes smoothly over the image.

    Args:
        num_maps: How many.
        shape: (c, h, w) of one.
        seed: Of the random numbers.
        num_draws: Squares that are averaged.

    Returns:
        Maps, (num_maps, c, h, w), float32, > 0.
    """
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    coarse = rng.standard_normal((num_maps, channels, -(-height // 8), -(-width // 8)))
    smooth = np.repeat(np.repeat(coarse, 8, axis=2), 8, axis=3)[..., :height, :width]
    variance = np.exp(0.5 * smooth - 3)
    return (variance * rng.gamma(num_draws / 2, 2 / num_draws, (num_maps, *shape))).astype(np.float32)


class ConstantMaps:
    """Stands where a method does, and answers every batch with the same maps at once.

    The maps differ from each other and look like LaRE, so that compressing them is real work.
    """

    def __init__(self, batch_size: int, latent_shape: tuple[int, int, int]) -> None:
        self.latent_shape = self.map_shape = latent_shape
        self._maps = torch.from_numpy(gamma_maps(batch_size, latent_shape, seed=0))

    def compute_maps(self, model: object, inputs: Inputs, variants: object) -> Tensor:
        """Constant maps, (1, b, c, h, w), float32."""
        return self._maps[None, : len(inputs.images)]


class Feed:
    """Extraction of a dataset without models, and its parts each for itself, over the same images.

    Args:
        context: Settings and folder.
        jpegs: The images' files.
    """

    def __init__(self, context: Context, jpegs: list[bytes]) -> None:
        config, size = context.config, context.config.feed_image_size
        self.jpegs, self.size = jpegs, size
        shape = (LATENT_CHANNELS, size // LATENT_STRIDE, size // LATENT_STRIDE)
        self.settings = RowSettings(size, shape, config.ensemble_size, noise_seed=0)
        self.dataset = pack_jpegs(context.folder / "data", jpegs, rows_per_tar=len(jpegs))
        fields: dict[str, int | str] = {"stored_dtype": "float16"}
        self.cache: Cache = create_cache(context.folder / "cache", self.dataset.dataset_id, Fingerprint(fields))
        self.extract_config = ExtractConfig(
            data=str(self.dataset.folder),
            cache=str(self.cache.folder),
            image_size=size,
            ensemble_size=config.ensemble_size,
            batch_size=config.feed_batch_size,
            num_workers=0,
            device="cpu",
        )
        method: Any = ConstantMaps(config.feed_batch_size, shape)
        model: Any = SimpleNamespace(device=torch.device("cpu"), condition=lambda prompts: None)
        self.extractor = Extractor(self.extract_config, self.dataset, PromptPolicy("none"), method, model)
        self.keys: list[str] = self.dataset.rows(0)["key"].to_pylist()

    def feed(self) -> None:
        """From tar to store."""
        self.write(self.compute())

    def compute(self) -> ShardData:
        """From tar to maps in memory."""
        variants = self.extract_config.variants
        with self.extractor.open({0: variants}) as batches:
            return self.extractor.extract(0, variants, batches, lambda n: None)[0]

    def write(self, shard: ShardData) -> Path:
        """Maps in memory to store."""
        return self.cache.write(store_name(self.dataset.tars[0].name), shard)

    def decode(self) -> None:
        """Files in memory to pictures."""
        for data in self.jpegs:
            decode_image(data)

    def decode_and_resize(self) -> None:
        """Files in memory to canvases, uint8."""
        for data in self.jpegs:
            resize_canvas(decode_image(data), self.size)

    def make_noise(self) -> None:
        """Posterior sample and draws of every image."""
        settings = self.settings
        for key in self.keys:
            sample_noise(settings.noise_seed, key, POSTERIOR_DRAW, settings.latent_shape)
            sample_draws(settings.noise_seed, key, settings.num_draws, settings.latent_shape)

    def load_rows(self) -> None:
        """Files in memory to what a worker hands over: pixels, noise and hash, without tar or batches."""
        for key, data in zip(self.keys, self.jpegs, strict=True):
            load_row(key, data, self.settings)


def measure_feed(context: Context) -> list[Figure]:
    """Images a second of a core, from tar to store, and the rates of the parts."""
    config = context.config
    jpegs = list(make_jpegs(config.feed_images, config.feed_picture_px))
    feed = Feed(context, jpegs)
    shard = feed.compute()
    sides = {
        "feed": timed(feed.feed),
        "decode": timed(feed.decode),
        "decode_resize": timed(feed.decode_and_resize),
        "noise": timed(feed.make_noise),
        "rows": timed(feed.load_rows),
        "write": timed(lambda: feed.write(shard)),
    }
    with one_core():
        seconds = alternate(sides, config.runs)
    parts = [sum(s) for s in zip(seconds["decode_resize"], seconds["noise"], seconds["write"], strict=True)]
    unit, canvas = "images/s", f"{config.feed_image_size} px"
    kilobytes = sum(map(len, jpegs)) / len(jpegs) / 1000
    limits = {
        "decode": "limit: decoding alone",
        "decode_resize": f"limit: decoding and resizing to {canvas}",
        "noise": f"limit: {config.ensemble_size} draws and the posterior sample",
        "rows": "limit: decoding, resizing, [-1, 1], noise, sha256; no tar, no batches",
        "write": "limit: rounding, compressing, writing and syncing stores",
    }
    what = f"one core, tar to store, JPEG of {config.feed_picture_px} px and {kilobytes:.0f} kB to {canvas}"
    return [
        reading(NAME, rates(len(jpegs), seconds["feed"]), unit, what, target="≥ 100"),
        *(reading(f"{NAME}.{part}", rates(len(jpegs), seconds[part]), unit, text) for part, text in limits.items()),
        ratio(f"{NAME}.over_parts", seconds["feed"], parts, "time over that of decode_resize + noise + write; limit 1"),
    ]
