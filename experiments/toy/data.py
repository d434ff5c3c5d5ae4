"""The toy benchmark's images, and its two datasets: the same images in the same rows, with other labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cache_schema import Dataset, Sample, write_bytes, write_dataset
from demo.toy.images import ToyModel
from demo.toy.photos import ROLES, Tile
from demo.toy.sources import (
    MAKINGS_NAME,
    Made,
    Task,
    Wish,
    classes_of,
    draw_samples,
    make_images,
    make_reals,
    pack_images,
    plain_task,
)
from experiments.study.image_sets import MAX_ROWS, read_samples

OTHER_DOMAIN, GENERATOR_REAL = "real-other-domain", "generator-real"
GUIDANCES = (1.0, 3.0, 5.0)
"""Guidances of the first model's images of the same prompts and noise."""
TASKS = ("plain", "decoder-matched")


def matched_task(models: Sequence[ToyModel]) -> Task:
    """Photographs that have been through a model's autoencoder against that model's images.

    The decoder's trace stands on both sides. Photographs as they are become a control, which like the other controls
    meets the first model's VAE reconstructions. Images of a model without an autoencoder have no such trace: they stay
    as they are, and meet copies of the photographs as they are.
    """
    classes: dict[str, tuple[int, str]] = {}
    for model in models:
        subset = model.sample_source
        classes |= {model.roundtrip_source: (0, subset)}
        classes |= dict.fromkeys((model.img2img_source, model.sample_source), (1, subset))
    return Task(classes, models[0].sample_source)


def make_guided(model: ToyModel, tiles: Sequence[Tile]) -> Iterator[Made]:
    """A class sample for each tile, from the same noise at each of `GUIDANCES`, which share a group."""
    class_names = list(enumerate(classes_of(tiles)))
    wishes = [Wish(f"test-{i:04d}", name, "test", guidance) for guidance in GUIDANCES for i, name in class_names]
    for wish, pixels in draw_samples(model, model.guidance_source, wishes):
        source = guided_source(model.guidance_source, wish.guidance)
        yield wish.as_made(source, pixels, f"{model.guidance_source}/{wish.name}")


def guided_source(prefix: str, guidance: float) -> str:
    """Image source of the samples at one guidance."""
    return f"{prefix}-{guidance:g}"


def build_datasets(
    folders: Mapping[str, Path],
    tiles: Sequence[Tile],
    models: Sequence[ToyModel],
    other_domain: Sequence[Tile],
    generator: Sequence[Tile],
    settings: Mapping[str, Any],
) -> None:
    """Make all images once, and pack them for both tasks.

    Args:
        folders: Task → new folder.
        tiles: The benchmark's photo tiles with their roles.
        models: The model that detectors are trained on, and those that they are only tested on.
        other_domain: Tiles of other photographs.
        generator: Tiles of photographs that trained the models; may be empty.
        settings: How the images were made, for the datasets' settings.
    """
    test_photographs = [t for t in tiles if t.role == "test" and t.column == 0]
    others = {
        models[0].guidance_source: (len(GUIDANCES) * len(test_photographs), make_guided(models[0], test_photographs)),
        OTHER_DOMAIN: (len(other_domain), make_reals(other_domain, OTHER_DOMAIN)),
    }
    if generator:
        others[GENERATOR_REAL] = (len(generator), make_reals(generator, GENERATOR_REAL))
    images = make_images(tiles, models, roundtrip_roles=tuple(ROLES), others=others)
    plain, matched = (folders[name] for name in TASKS)
    dataset = pack_images(plain, images, plain_task(models), settings, seed=models[0].config.seed, max_rows=MAX_ROWS)
    relabel(dataset, matched, matched_task(models))


def relabel(dataset: Dataset, folder: Path, task: Task) -> Dataset:
    """Write a dataset again with the labels and subsets of another task.

    Tars, rows, keys and bytes of the images are the same and so is `dataset_id`: one cache serves both.
    """
    samples = _relabelled(dataset, task)
    written = write_dataset(folder, samples, dataset.settings, max_rows=MAX_ROWS)
    write_bytes(folder / MAKINGS_NAME, (dataset.folder / MAKINGS_NAME).read_bytes())
    assert written.dataset_id == dataset.dataset_id
    return written


def _relabelled(dataset: Dataset, task: Task) -> Iterator[Sample]:
    for sample in read_samples(dataset):
        label, subset = task.place(sample.fields.image_source)
        yield replace(sample, fields=replace(sample.fields, label=label, subset=subset))
