"""Images of every toy model from photographs and class names, for training too, and the two tasks that they serve."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from demo.toy.crops import SHORT_SIDES_PX
from demo.toy.images import ToyModel
from demo.toy.loading import ModelPool, load_models
from demo.toy.photos import ROLES, Tile
from demo.toy.sources import (
    REAL,
    Made,
    Task,
    make_img2img,
    make_reals,
    make_roundtrips,
    make_samples,
    pack_images,
    plain_task,
)
from experiments.families.settings import MATCHED, PLAIN, FamiliesConfig
from experiments.study.image_sets import MAX_ROWS
from experiments.toy.data import relabel
from experiments.toy.photos import load_photo_tiles
from train.scoring.pairs import ROUNDTRIP_PREFIX

logger = logging.getLogger(__name__)

AS_THEY_ARE = "photographs"
"""Subset of the images of models without a decoder, and of the photographs."""


def write_datasets(config: FamiliesConfig, plain: Path, matched: Path) -> None:
    """Make all images once, and pack them for both tasks: the same images in the same rows, with other labels.

    Args:
        config: Photographs, models, and how images are made.
        plain: New dataset folder of the plain task.
        matched: New dataset folder of the decoder-matched one.
    """
    sources = config.sources
    tiles = load_photo_tiles(config.photos, 1, sources.seed, config.max_photos)
    about = {
        **asdict(sources),
        "short_side_px": SHORT_SIDES_PX,
        "num_photographs": {role: sum(tile.role == role for tile in tiles) for role in ROLES},
    }
    images, models = _make_at_once(config, tiles)
    dataset = pack_images(plain, images, plain_task(models), about, seed=sources.seed, max_rows=MAX_ROWS)
    relabel(dataset, matched, matched_task(models))


def _make_at_once(config: FamiliesConfig, tiles: Sequence[Tile]) -> tuple[list[Made], list[ToyModel]]:
    """The images, in as many processes as detectors are trained in, and the models that made them."""
    folders, num_threads = [*config.models.values()], torch.get_num_threads()
    if config.num_jobs == 1:
        models = load_models(config.sources, *folders)
        return make_images(tiles, models), models
    torch.set_num_threads(max(1, num_threads // config.num_jobs))  # which the processes take over: a share of the cores
    try:
        with ModelPool(config.sources, folders, config.num_jobs) as pool:
            models = load_models(config.sources, *folders)
            for model in models:
                model.pool = pool
            return make_images(tiles, models), models
    finally:
        torch.set_num_threads(num_threads)


def make_images(tiles: Sequence[Tile], models: Sequence[ToyModel]) -> list[Made]:
    """Photographs, and of each model an image of each tile, one of its class, and its VAE reconstruction.

    Args:
        tiles: Photo tiles with their roles.
        models: What makes images of all roles.
    """
    kinds: dict[str, Iterable[Made]] = {REAL: make_reals(tiles)}
    for model in models:
        kinds |= {model.img2img_source: make_img2img(model, tiles), model.sample_source: make_samples(model, tiles)}
        if has_decoder(model):
            kinds[model.roundtrip_source] = make_roundtrips(model, tiles)
    made: list[Made] = []
    for name, images in kinds.items():
        start, before = time.monotonic(), len(made)
        made += images
        logger.info("%s: %d images in %.0f s", name, len(made) - before, time.monotonic() - start)
    return made


def has_decoder(model: ToyModel) -> bool:
    """Whether a model has an autoencoder, whose trace its images carry."""
    return model.roundtrip_source.startswith(ROUNDTRIP_PREFIX)


def matched_task(models: Sequence[ToyModel]) -> Task:
    """Each model's VAE reconstructions against its images.

    Images of a model without a decoder meet the photographs as they are.
    """
    classes: dict[str, tuple[int, str]] = {}
    for model in models:
        real, subset = (model.roundtrip_source, model.sample_source) if has_decoder(model) else (REAL, AS_THEY_ARE)
        classes |= {real: (0, subset)} | dict.fromkeys((model.img2img_source, model.sample_source), (1, subset))
    return Task(classes, AS_THEY_ARE)


def generated_sources(letter: str) -> tuple[str, str]:
    """Image sources of what a model makes: from class names, and from photographs."""
    return f"toy-{letter}", f"toy-{letter}-img2img"


TASK_FOLDERS = {task: Path(task) / "data" for task in (PLAIN, MATCHED)}
"""Task → its dataset below the question's folder."""
