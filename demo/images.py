"""The demo's images as a dataset: photo tiles, images of two toy models from tiles and class names, and controls."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cache_schema import Dataset
from demo.toy.config import SourceConfig
from demo.toy.photos import SHORT_SIDE_PX, TABLE, count_contents, load_table, load_tiles
from workflow.steps import hash_files

logger = logging.getLogger(__name__)

MODELS = Path(__file__).with_name("models")
MAX_ROWS = 256
"""Samples a tar: few, so that even the demo has several shards of each split."""
NUM_PROCESSES = 2
"""Batches that are made at once."""


@dataclass(frozen=True)
class ImagesConfig:
    """Photo tiles and images of two toy models, packed as a dataset."""

    out: Path
    """New dataset folder."""
    model: Path = MODELS / "toy-a"
    """Diffusers folder of the toy model that detectors are trained on."""
    model_b: Path = MODELS / "toy-b"
    """Diffusers folder of the toy model whose images are in the test only."""
    photos: Path = TABLE
    """Table of photographs."""
    sources: SourceConfig = field(default_factory=SourceConfig)
    """How the images are made."""


def model_parts(folder: Path) -> list[Path]:
    """What decides a diffusers folder's images: its parts, not its card and its logs."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]


def check_model(setting: str, folder: Path) -> None:
    """Raise ValueError unless a folder holds a diffusers model."""
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"{setting} is {folder}, which holds no model_index.json: expected a diffusers folder")


def hash_inputs(photos: Path, *models: Path) -> str:
    """SHA-256 over the files that decide the images besides code and settings."""
    return hash_files(photos, *(part for model in models for part in model_parts(model)))


def make(config: ImagesConfig) -> Dataset:
    """Make and pack the demo's images: photographs, generated images, controls."""
    # Only now: diffusers takes seconds to load.
    from demo.toy.loading import ModelPool, load_models
    from demo.toy.sources import make_images, pack_images, plain_task

    photos = load_table(config.photos)
    tiles = load_tiles(photos)
    num_photographs = len({t.photo for t in tiles})
    logger.info("%d tiles of %d photographs", len(tiles), num_photographs)
    about = {**asdict(config.sources), "short_side_px": SHORT_SIDE_PX, "num_photographs": num_photographs}
    about["contents"] = count_contents(photos, tiles)
    folders = config.model, config.model_b
    with ModelPool(config.sources, folders, NUM_PROCESSES) as pool:
        models = load_models(config.sources, *folders)
        for model in models:
            model.pool = pool
        images = make_images(tiles, models)
    return pack_images(config.out, images, plain_task(models), about, seed=config.sources.seed, max_rows=MAX_ROWS)
