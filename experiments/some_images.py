"""A study of some of another's images, for questions that run stage 1 many times."""

from dataclasses import replace

from cache_schema import Dataset
from demo.steps import hash_files
from experiments.image_sets import write_some_images
from experiments.stage_1 import make_cache
from experiments.study import Study


def narrow(study: Study) -> Study:
    """The same study of `max_images` images: dataset, caches and detectors of its own, the default cache made.

    Args:
        study: Given back as it is where it has no `max_images`. Its default cache tells the settings.

    Raises:
        CacheError: If the study has no default cache.
        FingerprintMismatch: If the cache of the fewer images was made by another model of the same name.
    """
    config = study.config
    if config.max_images is None:
        return study
    settings = study.settings_of(study.cache(study.default_cache))
    source, folder = Dataset.open(config.data), config.out / "data" / "some-images"
    inputs = [source.dataset_id, hash_files(source.index_path), config.max_images]
    study.steps.run("some-images", [folder], inputs, lambda: write_some_images(config.data, folder, config.max_images))
    # Caches of other images must not be gone on with, so that the dataset's identity is in their place.
    name = f"some-images-{Dataset.open(folder).dataset_id[:8]}"
    part = Study(replace(config, data=folder, caches=config.caches / name, out=config.out / "some-images"))
    make_cache(part, part.default_cache, *settings)
    return part
