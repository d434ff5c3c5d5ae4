"""A tiny model, the tiles of three photographs, and the dataset made of them."""

from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from cache_schema import Dataset
from demo.toy.config import SourceConfig
from demo.toy.images import CLASS_NAMES
from demo.toy.latent_images import StableDiffusionToy
from demo.toy.model import ToyConfig, build_pipeline
from demo.toy.photos import Photo, Tile, cut_tiles, load_table
from demo.toy.sources import make_images, pack_images, plain_task

ROLE_OF_SCENE = {"coffee": "train", "road": "validation", "astronaut": "test", "roof": "test"}


@pytest.fixture(scope="session")
def photos() -> list[Photo]:
    return load_table()


@pytest.fixture(scope="session")
def pipeline() -> StableDiffusionPipeline:
    config = ToyConfig(vae_channels=(8, 8, 16), unet_channels=(16, 32), latent_channels=4)
    pipeline = build_pipeline(config, list(CLASS_NAMES))
    for model in (pipeline.vae, pipeline.unet):
        model.eval().requires_grad_(False)
    return pipeline


@pytest.fixture(scope="session")
def model(pipeline: StableDiffusionPipeline) -> StableDiffusionToy:
    return StableDiffusionToy("a", pipeline, SourceConfig(num_steps=4, batch_size=8))


@pytest.fixture(scope="session")
def tiles(photos: list[Photo]) -> list[Tile]:
    """Four tiles of each of four photographs, with the roles of `ROLE_OF_SCENE`."""
    from PIL import Image

    made = []
    for photo in photos:
        if photo.scene in ROLE_OF_SCENE:
            image = Image.open(photo.file).convert("RGB")
            for row, column, pixels in list(cut_tiles(image))[2:6]:
                made.append(Tile(photo.name, row, column, photo.scene, ROLE_OF_SCENE[photo.scene], pixels))
    return made


@pytest.fixture(scope="session")
def demo_dataset(tiles: list[Tile], model: StableDiffusionToy, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder: Path = tmp_path_factory.mktemp("demo") / "data"
    images = make_images(tiles, [model], progress=False)
    return pack_images(folder, images, plain_task([model]), {}, seed=0, max_rows=16)
