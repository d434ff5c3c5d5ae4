"""A detector folder to measure with: the small diffusion model, and the demo's network with random weights.

Time and memory do not depend on the weights' values.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.config import BenchConfig
from bench.data.pictures import make_jpegs, pack_jpegs
from cache_schema import Dataset
from extract import ExtractConfig, Job
from train import Calibration, LareDataModule, LareTask, export_checkpoint
from train.record import describe_training

NETWORK = Path("demo/configs/full.yaml")
NUM_OTHERS = 16
"""Training and validation pictures each: what a description is made of."""


@dataclass(frozen=True)
class Made:
    """A detector with what it was made of.

    Attributes:
        job: Its extraction, of all tars of the test split.
        dataset: Its pictures.
        task: Its network, as `predict` runs it.
        checkpoint: The same, saved.
        folder: As `lare export` writes it, with its diffusion model.
        jpegs: The pictures of the test split.
    """

    job: Job
    dataset: Dataset
    task: LareTask
    checkpoint: Path
    folder: Path
    jpegs: list[bytes]


def make_detector(folder: Path, config: BenchConfig, num_images: int, ensemble_size: int) -> Made:
    """Pack pictures, make the maps of all, and export a network.

    Args:
        folder: Existing folder, whose content is removed by the caller.
        config: Model and sizes.
        num_images: Pictures of the test split.
        ensemble_size: Noise draws a picture.
    """
    jpegs = [*make_jpegs(num_images + 2 * NUM_OTHERS, config.toy_picture_px)]
    dataset = pack_jpegs(folder / "data", jpegs, -(-num_images // 2), lambda n: _fields(n, num_images))
    extraction = ExtractConfig(
        data=str(dataset.folder),
        cache=str(folder / "cache"),
        model=config.toy_model,
        image_size=config.toy_image_size,
        timestep=config.timestep,
        ensemble_size=ensemble_size,
        batch_size=config.toy_batch_size,
        num_workers=config.num_workers,
        device=config.device,
        overwrite=True,
    )
    job_of_all = Job.prepare(extraction)
    job_of_all.run()
    settings = yaml.safe_load(NETWORK.read_text(encoding="utf-8"))
    crop_px = settings["data"]["crop_px"]
    task = LareTask(**settings["model"], image_size=crop_px, map_channels=job_of_all.method.map_shape[0])
    module = LareDataModule(str(dataset.folder), extraction.cache, num_workers=0, crop_px=crop_px)
    task.calibration = Calibration(bands=((0.45, 0.55),) * 5)
    checkpoint = folder / "run" / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir(parents=True)
    content: dict[str, Any] = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**content, "trained_on": describe_training(module)}, checkpoint)
    places = str(checkpoint), str(folder / "detector"), str(dataset.folder), extraction.cache
    export_checkpoint(*places, include_model=config.toy_model)
    tested = [n for n, tar in enumerate(dataset.tars) if tar.name.startswith("test")]
    job = Job.prepare(ExtractConfig(**vars(extraction) | {"shard": ",".join(map(str, tested))}))
    return Made(job, dataset, task.eval(), checkpoint, folder / "detector", jpegs[:num_images])


def _fields(number: int, num_images: int) -> dict[str, Any]:
    """Split and class of a picture: those of the test first."""
    if number < num_images:
        return {"split": "test"}
    split = "train" if number < num_images + NUM_OTHERS else "validation"
    return {"split": split, "label": number % 2, "image_source": ("real", "toy")[number % 2]}
