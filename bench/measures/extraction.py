"""Our job beside the authors' way and beside the bare models, on the same images with the same weights."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from bench.authors import AuthorsWay
from bench.config import BenchConfig
from bench.data.pictures import make_jpegs, pack_jpegs, save_jpegs
from bench.data.sd15 import find_sd15
from bench.machine import one_core
from bench.runner import Context, Figure, device_timed, peak_gpu_bytes, rates, ratio, reading
from cache_schema import Place
from extract import (
    Batch,
    ExtractConfig,
    Inputs,
    Job,
    RowSettings,
    StableDiffusion,
    count_macs,
    load_batches,
    scale_pixels,
)
from extract.models.number_formats import TORCH_DTYPES, split_formats, tf32
from extract.run.model import Model
from workflow.timing import alternate

MATMUL_REPEATS = 8


@dataclass(frozen=True)
class LoadedModel(Model[ExtractConfig]):
    """A job's model whose weights are in memory: loading them is no part of the time that is compared."""

    diffusion: StableDiffusion

    @classmethod
    def of(cls, model: Model[ExtractConfig], diffusion: StableDiffusion) -> "LoadedModel":
        """A checked model with its weights."""
        return cls(**{field.name: getattr(model, field.name) for field in fields(Model)}, diffusion=diffusion)

    def load(self, prompts: Sequence[str] = ()) -> StableDiffusion:
        """The models, whatever the texts."""
        return self.diffusion


@dataclass(frozen=True)
class Setting:
    """One model at its size."""

    name: str
    """Ends the measures' names."""
    model: Path
    image_size: int
    picture_px: int
    """Long side of the JPEG files."""
    num_images: int
    batch_size: int
    is_one_core: bool
    target: str = ""
    """For the rate over the authors'."""


def job_settings(config: BenchConfig, setting: Setting, data: Place, cache: Place, num_workers: int) -> ExtractConfig:
    """Of our job over a dataset; it makes all stores anew each time."""
    return ExtractConfig(
        data=str(data),
        cache=str(cache),
        model=str(setting.model),
        image_size=setting.image_size,
        timestep=config.timestep,
        ensemble_size=config.ensemble_size,
        compute_dtype=config.compute_dtype,
        batch_size=setting.batch_size,
        num_workers=num_workers,
        device=config.device,
        overwrite=True,
    )


class Comparison:
    """Our job, the authors' way, the bare models and a large matrix product, each as one run over all images.

    Args:
        context: Settings and folder.
        setting: Model and sizes.
    """

    def __init__(self, context: Context, setting: Setting) -> None:
        config, self.device, self.setting = context.config, context.device, setting
        jpegs = list(make_jpegs(setting.num_images, setting.picture_px))
        self.files = save_jpegs(context.folder / "files", jpegs)
        # Two tars, if they fill a batch: one is written while the next is computed, as in a real job.
        dataset = pack_jpegs(context.folder / "data", jpegs, rows_per_tar=max(setting.batch_size, -(-len(jpegs) // 2)))
        self.maps = context.folder / "maps"
        self.maps.mkdir()
        self.config = job_settings(config, setting, dataset.folder, context.folder / "cache", config.num_workers)
        job = Job.prepare(self.config)
        folder, noising, dtype = job.model.folder, job.model.noising, config.compute_dtype
        self.diffusion = StableDiffusion(folder, noising, dtype, self.device, self.config.channels_last)
        self.job = replace(job, model=LoadedModel.of(job.model, self.diffusion))
        self.batches = self._load_batches()
        self.authors = AuthorsWay(
            setting.model,
            self.device,
            setting.image_size,
            config.timestep,
            config.ensemble_size,
            self.config.prompt,
        )
        # Once in a process, by running every layer without numbers: before the clock runs.
        self.job.count_macs()
        self.matrix = torch.randn(config.peak_matmul_size, config.peak_matmul_size).to(
            self.device, TORCH_DTYPES[split_formats(config.compute_dtype)[0]]
        )

    def _load_batches(self) -> list[Batch]:
        """The job's batches, on the device."""
        config, dataset = self.config, self.job.dataset
        shape = self.diffusion.folder.latent_shape(config.image_size)
        settings = RowSettings(config.image_size, shape, config.ensemble_size, config.noise_seed)
        return [
            batch._replace(
                images=scale_pixels(batch.images.to(self.device)),
                posterior_noise=batch.posterior_noise.to(self.device),
                noise=batch.noise.to(self.device),
            )
            for n in range(len(dataset.tars))
            for batch in load_batches(dataset, n, settings, config.batch_size, 0, pin_memory=False)
        ]

    def run_job(self) -> None:
        """From tars to stores."""
        self.job.run()

    def run_authors(self) -> None:
        """From image files to map files."""
        self.authors.run(self.files, self.maps)

    def run_models(self) -> None:
        """From batches on the device to maps on the device."""
        for batch in self.batches:
            condition = self.diffusion.condition([self.config.prompt] * len(batch.images))
            inputs = Inputs(batch.images, batch.posterior_noise, batch.noise, condition)
            self.job.method.compute_maps(self.diffusion, inputs, self.config.variants)

    def run_matmul(self) -> None:
        """The product of two large square matrices, `MATMUL_REPEATS` times."""
        with tf32(split_formats(self.config.compute_dtype)[0] == "tf32"):
            for _ in range(MATMUL_REPEATS):
                torch.mm(self.matrix, self.matrix)

    @property
    def model_flop(self) -> float:
        """Floating-point operations of `run_models`, two a multiply-accumulate; the padded batch counts whole."""
        per_image = count_macs(self.diffusion.folder, self.config.image_size, self.config.ensemble_size)
        return 2.0 * per_image * sum(len(batch.images) for batch in self.batches)

    @property
    def matmul_flop(self) -> float:
        """Floating-point operations of `run_matmul`."""
        return 2.0 * MATMUL_REPEATS * len(self.matrix) ** 3


def compare(context: Context, setting: Setting) -> list[Figure]:
    """Figures of one model at its size."""
    config = context.config
    is_pinned = setting.is_one_core and context.device.type == "cpu" and not config.num_workers
    with one_core() if is_pinned else nullcontext():
        both = Comparison(context, setting)
        works: dict[str, Callable[[], None]] = {
            "job": both.run_job,
            "authors": both.run_authors,
            "models": both.run_models,
            "matmul": both.run_matmul,
        }
        seconds = alternate({name: device_timed(work, context.device) for name, work in works.items()}, config.runs)
        figures = _figures(both, seconds, "one core" if is_pinned else f"{torch.get_num_threads()} threads")
    if context.device.type == "cuda":
        figures += [
            reading(f"job_over_authors_{setting.name}.{side}_memory", [gib], "GiB", "most GPU memory above the weights")
            for side in ("job", "authors")
            for gib in [peak_gpu_bytes(works[side], context.device) / 2**30]
        ]
    return figures


def _figures(both: Comparison, seconds: Mapping[str, list[float]], where: str) -> list[Figure]:
    setting, num_images, dtype = both.setting, both.setting.num_images, both.config.compute_dtype
    authors, models = f"job_over_authors_{setting.name}", f"job_over_models_{setting.name}"
    peak, achieved = rates(both.matmul_flop, seconds["matmul"]), rates(both.model_flop, seconds["models"])
    sizes = f"{setting.image_size} px, e = {both.config.ensemble_size}, {dtype}, {where}"
    return [
        ratio(authors, seconds["authors"], seconds["job"], f"images/s over the authors' way; {sizes}", setting.target),
        reading(f"{authors}.job", rates(num_images, seconds["job"]), "images/s", "tars to stores"),
        reading(f"{authors}.authors", rates(num_images, seconds["authors"]), "images/s", "files to .pt files, fp32"),
        ratio(models, seconds["job"], seconds["models"], "time over the bare models', batches in memory; limit 1"),
        reading(f"{models}.models", rates(num_images, seconds["models"]), "images/s", "batches in memory to maps"),
        ratio(f"fraction_of_peak_{setting.name}", achieved, peak, "bare models' FLOP/s over a large matrix product's"),
        reading(
            f"fraction_of_peak_{setting.name}.peak", [p / 1e9 for p in peak], "GFLOP/s", f"matrix product, {dtype}"
        ),
    ]


def measure_toy(context: Context) -> list[Figure]:
    """The demo's model on one core: small enough that everything around the models counts."""
    return compare(context, toy_setting(context.config, "toy", is_one_core=True))


def measure_toy_cores(context: Context) -> list[Figure]:
    """The small model with all cores: small batches keep fewer of them busy."""
    return compare(context, toy_setting(context.config, "toy_cores", is_one_core=False))


def toy_setting(config: BenchConfig, name: str, *, is_one_core: bool) -> Setting:
    """The small model at its size, as the settings have it."""
    return Setting(
        name=name,
        model=Path(config.toy_model),
        image_size=config.toy_image_size,
        picture_px=config.toy_picture_px,
        num_images=config.toy_images,
        batch_size=config.toy_batch_size,
        is_one_core=is_one_core,
        target="≥ 2",
    )


def measure_sd15(context: Context) -> list[Figure]:
    """Stable Diffusion 1.5's shapes: the models are nearly all of the time."""
    config = context.config
    setting = Setting(
        name="sd15",
        model=find_sd15(context),
        image_size=config.sd15_image_size,
        picture_px=config.feed_picture_px,
        num_images=config.sd15_images,
        batch_size=config.sd15_batch_size,
        is_one_core=False,
    )
    return compare(context, setting)
