"""Stage 1 as `Study.extract` runs it: its settings, the files of its model, and what an image costs."""

from collections.abc import Sequence
from dataclasses import fields

from experiments.study import Study
from extract.__main__ import build_parser
from extract.config import ExtractConfig
from extract.costs import count_macs
from extract.methods import make_method
from extract.model_folder import ModelFolder


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
    return ExtractConfig(**{field.name: parsed[field.name] for field in fields(ExtractConfig)})


def open_model(config: ExtractConfig) -> ModelFolder:
    """The files of its model."""
    return ModelFolder.open(config.model, config.pinned_revision, config.vae, config.vae_revision)


def count_giga_macs(config: ExtractConfig) -> float:
    """10⁹ multiply-accumulates an image."""
    folder = open_model(config)
    return count_macs(folder, config.image_size, *make_method(config, folder).count_calls()) / 1e9
