"""Stage 1 as `Study.extract` runs it: its settings, its model, caches that are that model's, what an image costs."""

from collections.abc import Sequence
from pathlib import Path

from cache_schema import Dataset, FingerprintMismatch, file_name, open_cache
from experiments.study.study import Study
from extract import ExtractConfig, ModelFolder, count_macs, make_method
from extract.__main__ import build_parser
from workflow.command import build_config


def parse_config(study: Study, arguments: Sequence[str]) -> ExtractConfig:
    """All settings of stage 1, on the CPU.

    Args:
        study: Whose data, model and stage 1 settings it has.
        arguments: What differs from them, as of `Study.extract`.
    """
    config = study.config
    places = (f"--data={config.data}", f"--model={config.model}", f"--cache={config.caches}")
    command = ["run", "--config", str(config.extract_config), *places, *arguments, "--device=cpu"]
    parsed = build_parser().parse_args(command)["run"]
    settings: ExtractConfig = build_config(ExtractConfig, parsed)
    return settings


def open_model(config: ExtractConfig) -> ModelFolder:
    """The files of its model."""
    return ModelFolder.open(
        config.model, config.pinned_revision, config.vae, config.vae_revision, with_unet=config.needs.unet
    )


def make_cache(study: Study, name: str, *arguments: str, data: Path | None = None) -> Path:
    """`Study.extract`, which skips a cache that is whole, and a check of its model.

    Raises:
        FingerprintMismatch: If the cache was made by another model of the same name.
    """
    folder = study.extract(name, *arguments, data=data)
    check_model(study, folder, open_model(parse_config(study, arguments)))
    return folder


def make_cache_like(study: Study, name: str, cache: Path, data: Path) -> Path:
    """Maps of other images with the settings of a cache.

    Args:
        study: Whose model makes them.
        name: What the new cache's name begins with. The dataset's identity follows, as other images must not go on
            with this cache.
        cache: The one with the settings.
        data: Dataset of the images.
    """
    identity = Dataset.open(data).dataset_id
    return make_cache(study, file_name(f"{name}-{identity[:8]}"), *study.settings_of(cache), data=data)


def check_model(study: Study, cache: Path, model: ModelFolder) -> None:
    """Raise FingerprintMismatch if a cache was made with other weights than a model's, which its name does not tell."""
    made_by = open_cache(cache).fields
    for name in (model.layout.network, "vae"):
        part = model.parts.get(name)
        if part is not None and made_by.get(f"{name}_sha256") != part.sha256:
            raise FingerprintMismatch(
                f"{cache} was made with another {name} than {part.folder} holds now. Remove that cache, and what "
                f"{study.config.out} has of it."
            )


def count_giga_macs(config: ExtractConfig) -> float:
    """10⁹ multiply-accumulates an image."""
    folder = open_model(config)
    return count_macs(folder, config.image_size, *make_method(config, folder).count_calls()) / 1e9
