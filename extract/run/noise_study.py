"""How much of LaRE is chance: its standard error over noise draws, by ensemble size and image source."""

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cache_schema import Dataset, Status, read_image_bytes
from extract.config import NoiseStudyConfig
from extract.lare import squared_errors
from extract.models.base import DiffusionModel
from extract.needs import LARE
from extract.run.images import Row, RowSettings, collate, load_row, scale_pixels
from extract.run.model import Model

logger = logging.getLogger(__name__)


class ImageStatistics(NamedTuple):
    """One image's LaRE over its draws."""

    mean: float
    """Mean of the map over draws and elements."""
    image_variance: float
    """Variance, over draws, of the mean of one draw's squared errors."""
    element_variance: float
    """Variance, over draws, of one element's squared error, averaged over the elements."""


@dataclass(frozen=True)
class StandardErrors:
    """What is known of one image source at one ensemble size."""

    image_source: str
    num_images: int
    ensemble_size: int
    mean_lare: float
    sd_between_images: float
    """Of the images' mean LaRE: what the error of an image is to be compared with."""
    image_standard_error: float
    """Of an image's mean LaRE."""
    image_error_over_sd: float
    """`image_standard_error` / `sd_between_images`."""
    element_standard_error: float
    """Of one element of a map."""
    element_error_over_mean: float
    """`element_standard_error` / `mean_lare`."""


def compute_statistics(squared_errors: NDArray[np.float32]) -> ImageStatistics:
    """Statistics of one image's squared errors, (draw, c, h, w), at least two draws; the variances are unbiased."""
    errors = squared_errors.astype(np.float64)
    return ImageStatistics(
        float(errors.mean()),
        float(errors.mean(axis=(1, 2, 3)).var(ddof=1)),
        float(errors.var(axis=0, ddof=1).mean()),
    )


def summarize(image_source: str, images: Sequence[ImageStatistics], sizes: Sequence[int]) -> list[StandardErrors]:
    """Standard errors for each ensemble size: draws are independent, so e of them have 1/e of the variance of one."""
    mean, image_variance, element_variance = np.mean(images, axis=0)
    sd = float(np.std([image.mean for image in images], ddof=1)) if len(images) > 1 else float("nan")
    results = []
    for size in sizes:
        image_error, element_error = float(np.sqrt(image_variance / size)), float(np.sqrt(element_variance / size))
        results.append(
            StandardErrors(
                image_source,
                len(images),
                size,
                float(mean),
                sd,
                image_error,
                image_error / sd,
                element_error,
                element_error / float(mean),
            )
        )
    return results


def choose_rows(table: pa.Table, images_per_source: int, seed: int) -> dict[str, pa.Table]:
    """Image source → some of its index rows, in the index's order."""
    sources = np.array(table["image_source"].to_pylist())
    rng = np.random.default_rng(seed)
    chosen = {}
    for source in sorted(set(sources)):
        rows = np.flatnonzero(sources == source)
        chosen[source] = table.take(np.sort(rng.permutation(rows)[:images_per_source]))
    return chosen


class NoiseStudy:
    """A study whose settings passed all checks.

    Args:
        config: Its settings.

    Raises:
        ValueError: If a setting does not fit the model.
        CacheError: If the dataset cannot be read.
    """

    def __init__(self, config: NoiseStudyConfig) -> None:
        self.dataset = Dataset.open(config.data)
        self.model = Model.prepare(config, self.dataset, LARE)
        self.config = self.model.config
        self.level = self.config.timestep if self.config.sigma is None else self.config.sigma

    def run(self) -> list[StandardErrors]:
        """Compute the table, log it and write it."""
        config = self.config
        chosen = choose_rows(self.dataset.table(), config.images_per_source, config.noise_seed)
        num_images = sum(map(len, chosen.values()))
        symbol = "σ" if self.model.folder.is_flow else "t"
        logger.info("%d images, %d draws each, %s = %g", num_images, config.num_draws, symbol, self.level)
        model = self.model.load()
        results: list[StandardErrors] = []
        with tqdm(total=num_images, unit="image", disable=None) as bar:
            for source, rows in chosen.items():
                images = []
                for image in self._compute(model, rows):
                    images.append(image)
                    bar.update()
                if images:
                    results += summarize(source, images, config.sizes)
        for line in results:
            logger.info(
                "%s, e = %d: %.4g ± %.2g an image (%.3f of the sd between them), ± %.2g an element (%.2f of the mean)",
                line.image_source,
                line.ensemble_size,
                line.mean_lare,
                line.image_standard_error,
                line.image_error_over_sd,
                line.element_standard_error,
                line.element_error_over_mean,
            )
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        with Path(config.out).open("x", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, [field.name for field in fields(StandardErrors)])
            writer.writeheader()
            writer.writerows(map(asdict, results))
        return results

    @torch.inference_mode()
    def _compute(self, model: DiffusionModel, rows: pa.Table) -> Iterator[ImageStatistics]:
        config = self.config
        shape = self.model.folder.latent_shape(config.image_size)
        settings = RowSettings(config.image_size, shape, config.num_draws, config.noise_seed)
        policy = self.model.policy
        for start in range(0, len(rows), config.batch_size):
            part = rows.slice(start, config.batch_size)
            loaded = [self._load(row, settings) for row in part.to_pylist()]
            usable = [i for i, row in enumerate(loaded) if row.status == Status.OK]
            if not usable:
                continue
            batch = collate([loaded[i] for i in usable], len(usable))
            images, posterior_noise, noise = (
                t.to(model.device) for t in (batch.images, batch.posterior_noise, batch.noise)
            )
            prompts = policy.prompts(part)
            condition = model.condition([prompts[i] for i in usable])
            latents = model.encode(scale_pixels(images), posterior_noise)
            # One draw at a time: as many of them as here, times a batch, would not fit into a GPU.
            errors = [
                squared_errors(model, latents, draw, self.level, condition) for draw in torch.split(noise, 1, dim=1)
            ]
            yield from map(compute_statistics, torch.cat(errors, dim=1).cpu().numpy())

    def _load(self, row: dict[str, Any], settings: RowSettings) -> Row:
        data = read_image_bytes(self.dataset.folder / row["tar"], row["offset"], row["size"])
        loaded = load_row(row["key"], data, settings)
        if loaded.status != Status.OK:
            logger.warning("%s is left out: %s", row["key"], loaded.reason)
        return loaded
