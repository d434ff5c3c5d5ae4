"""Which models settings name, and fetching one: a diffusion model's files that are loaded, a backbone's weights."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

logger = logging.getLogger(__name__)

DIFFUSION = ("model", "revision", "vae", "vae_revision", "variant")
"""Settings that say which diffusion model an extraction loads; `method` says which parts."""
OF_TRAINING = ("trainer", "seed_everything", "predictions", "ckpt_path")
"""Groups that only a training's settings have, beside `model` and `data` with settings of their own."""
DEFAULT_BACKBONE = "resnet50_clip"


@dataclass(frozen=True)
class DiffusionModel:
    """What an extraction loads."""

    model: str
    revision: str | None
    vae: str | None
    vae_revision: str | None
    variant: str | None
    with_unet: bool

    def __str__(self) -> str:
        vae = f", autoencoder {self.vae} at {self.vae_revision or 'no revision'}" if self.vae else ""
        return f"diffusion model {self.model} at {self.revision or 'no revision: a folder'}{vae}"


@dataclass(frozen=True)
class Backbone:
    """What a training begins with."""

    name: str

    def __str__(self) -> str:
        return f"backbone {self.name}"


def find_models(configs: Sequence[Path], named: Mapping[str, Any]) -> list[DiffusionModel | Backbone]:
    """The models of some settings files, or named by flags, each once.

    Args:
        configs: YAML files of extractions and trainings.
        named: Settings of `DIFFUSION`, and `backbone`; they come before those of the files.

    Raises:
        ValueError: If a file cannot be read, settings do not fit, or nothing names a model.
    """
    flags = {name: value for name, value in named.items() if value is not None}
    diffusion = {name: flags[name] for name in DIFFUSION if name in flags}
    models: list[DiffusionModel | Backbone] = []
    settings = [_load(path) for path in configs]
    extractions = [content for content in settings if not is_training(content)]
    for content in extractions or ([{}] if diffusion else []):
        models.append(_diffusion_model(content, diffusion))
    for content in settings:
        if is_training(content):
            models += _backbones(content, flags.get("backbone"))
    if "backbone" in flags and not any(map(is_training, settings)):
        models.append(Backbone(flags["backbone"]))
    if not models:
        raise ValueError(
            "nothing names a model to fetch: pass --config sd15 --config lare2, or --model ID --revision HASH, or "
            "--backbone NAME"
        )
    return list(dict.fromkeys(models))


def is_training(settings: Mapping[str, Any]) -> bool:
    """Whether settings are those of a training: an extraction's `model` and `data` are texts."""
    return any(name in settings for name in OF_TRAINING) or any(
        isinstance(settings.get(name), dict) for name in ("model", "data")
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"config is {path}, which cannot be read: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"config is {path}, which holds no settings: expected lines `name: value`")
    return content or {}


def _diffusion_model(settings: Mapping[str, Any], flags: Mapping[str, Any]) -> DiffusionModel:
    from extract import ExtractConfig

    chosen = {name: settings[name] for name in (*DIFFUSION, "method") if settings.get(name) is not None}
    if "model" in flags:  # the file's revision is that of its own model
        chosen.pop("revision", None)
    config = ExtractConfig(data="", cache="", **chosen | dict(flags))
    return DiffusionModel(
        config.model, config.pinned_revision, config.vae, config.vae_revision, config.variant, config.needs.unet
    )


def _backbones(settings: Mapping[str, Any], named: str | None) -> Iterator[Backbone]:
    model = settings.get("model")
    model = model if isinstance(model, dict) else {}
    pretrained = model.get("pretrained", False)
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise ValueError(f"model.pretrained is {pretrained!r}, which is neither true, false nor a file of weights")
        logger.info("weights of the backbone: %s is a file, nothing to fetch", pretrained)
    elif pretrained or named:
        yield Backbone(named or str(model.get("backbone", DEFAULT_BACKBONE)))


def fetch(model: DiffusionModel | Backbone) -> None:
    """Bring a model into the local hub cache, as far as it is not there, and check its files.

    Raises:
        ValueError: If it cannot be found, or cannot be used; the message says which and why.
    """
    if isinstance(model, Backbone):
        from train import fetch_backbone

        files = [fetch_backbone(model.name)]
    else:
        from extract import ModelFolder

        folder = ModelFolder.open(
            model.model, model.revision, model.vae, model.vae_revision, model.with_unet, model.variant
        )
        folder.check_files()
        files = [file for part in folder.parts.values() for file in part.weights]
    size = sum(file.stat().st_size for file in files)
    logger.info("%s: %s bytes of weights in %s", model, f"{size:,}", files[0].parent)
