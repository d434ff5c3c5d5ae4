"""Some of a study's images: as a dataset, and as a study of their own for questions that run stage 1 many times."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cache_schema import SPLITS, Dataset, file_name
from experiments.study.image_sets import write_some_images
from experiments.study.stage_1 import make_cache
from experiments.study.study import Study
from workflow.steps import hash_files


def choose_images(study: Study, name: str, limit: int | None, splits: Sequence[str] = SPLITS) -> tuple[Path, str]:
    """Some labelled images of a study as a dataset, written once.

    Args:
        study: Whose images they are.
        name: Of the dataset within the study.
        limit: As of `write_some_images`.
        splits: As of `write_some_images`.

    Returns:
        Dataset folder, and the signature of the step that made it.
    """
    source, folder = Dataset.open(study.config.data), study.config.out / "data" / name
    inputs = [source.dataset_id, hash_files(source.index_path), limit]
    work = partial(write_some_images, source.folder, folder, limit, splits)
    return folder, study.steps.run(name, [folder], inputs, work)


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
    folder, _ = choose_images(study, "some-images", config.max_images)
    # Caches of other images must not be gone on with, so that the dataset's identity is in their place.
    name = file_name(f"some-images-{Dataset.open(folder).dataset_id[:8]}")
    part = Study(replace(config, data=folder, caches=config.caches / name, out=config.out / "some-images"))
    make_cache(part, part.default_cache, *settings)
    return part
