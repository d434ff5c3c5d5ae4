"""What makes stage 1 cheaper: fewer draws, a smaller canvas, a smaller autoencoder or UNet, and all together."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

from experiments.study.config import StudyConfig
from experiments.study.names import cache_name
from experiments.study.stage_1 import check_model, open_model, parse_config
from experiments.study.study import Study
from extract import ExtractConfig, ModelFolder


@dataclass(frozen=True)
class Setting:
    """One way to run stage 1."""

    ensemble_size: int
    is_small: bool = False
    """The smaller model's UNet, and its own autoencoder unless `is_tiny`."""
    is_tiny: bool = False
    """An AutoencoderTiny."""
    is_half: bool = False
    """A canvas of half the side."""

    @property
    def changes(self) -> tuple[str, ...]:
        """In words."""
        changes = {"small UNet": self.is_small, "AutoencoderTiny": self.is_tiny, "half size": self.is_half}
        return tuple(name for name, is_made in changes.items() if is_made)

    @property
    def title(self) -> str:
        """For people."""
        return ", ".join((*self.changes, f"e = {self.ensemble_size}"))

    def cache_name(self, timestep: int) -> str:
        """Folder of its cache."""
        names = (change.replace(" ", "-").lower() for change in self.changes)
        return "-".join((*names, cache_name(timestep, self.ensemble_size)))


def list_settings(ensemble_size: int) -> list[Setting]:
    """The default, each change by itself, and all combinations of them at one draw.

    Args:
        ensemble_size: The default one.
    """
    default = Setting(ensemble_size)
    single = [replace(default, **{name: True}) for name in ("is_half", "is_tiny", "is_small")]
    combined = [Setting(1, *changes) for changes in itertools.product((False, True), repeat=3)]
    return list(dict.fromkeys([default, *single, *combined]))


@dataclass(frozen=True)
class Candidate:
    """A setting that can be run."""

    setting: Setting
    cache: str
    """Name of its cache."""
    arguments: tuple[str, ...]
    """Of stage 1, besides those of the study."""
    config: ExtractConfig
    """All of its settings, on the CPU."""
    folder: ModelFolder


def choose_candidates(study: Study) -> tuple[list[Candidate], dict[str, str]]:
    """The settings that can be run, the default first, and title → why of those that cannot.

    Raises:
        ValueError: If a model that is named is not there.
    """
    comparable = study.settings_of(study.cache(study.default_cache))
    default, found, left_out = parse_config(study, comparable), [], {}
    for setting in list_settings(study.config.ensemble_size):
        try:
            changes = _list_changes(study.config, default, setting)
            config = replace(default, **changes)
            folder = open_model(config)
            _check(default, config, folder)
        except _CannotBeRunError as error:
            left_out[setting.title] = str(error)
            continue
        arguments = (*comparable, *(f"--{name}={value}" for name, value in changes.items()))
        found.append(Candidate(setting, setting.cache_name(config.timestep), arguments, config, folder))
    return found, left_out


class _CannotBeRunError(Exception):
    """Why a setting is left out."""


def _list_changes(study: StudyConfig, default: ExtractConfig, setting: Setting) -> dict[str, Any]:
    """Setting of stage 1 → value, where it is not the default one's."""
    changes: dict[str, Any] = {"ensemble_size": setting.ensemble_size}
    if setting.is_half:
        changes["image_size"] = default.image_size // 2
    if setting.is_small:
        if study.small_model is None:
            raise _CannotBeRunError("small_model names no model")
        changes["model"] = study.small_model
    if setting.is_tiny:
        if study.tiny_vae is None:
            raise _CannotBeRunError("tiny_vae names no AutoencoderTiny")
        changes["vae"] = study.tiny_vae
    return changes


def _check(default: ExtractConfig, config: ExtractConfig, folder: ModelFolder) -> None:
    if config.model != default.model and config.vae is not None:
        own, other = (open_model(replace(default, model=model)) for model in (default.model, config.model))
        if own.vae.sha256 != other.vae.sha256:
            raise _CannotBeRunError("the small model has other latents than those that tiny_vae was made for")
    try:
        folder.latent_shape(config.image_size)
    except ValueError as error:
        raise _CannotBeRunError(str(error)) from error


def make_cache(study: Study, candidate: Candidate) -> None:
    """Stage 1, unless it is done.

    Raises:
        FingerprintMismatch: If the cache was made by another model of the same name.
    """
    check_model(study, study.extract(candidate.cache, *candidate.arguments), candidate.folder)
