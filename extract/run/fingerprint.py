"""Which settings are part of a cache's identity, and the settings that an identity was made from."""

import ast
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cache_schema import RULES, Dataset, Fingerprint, formats_identity
from extract.config import ExtractConfig
from extract.models.registry import family_of
from extract.models.schedule import noising_identity
from extract.run.methods import Method
from extract.run.model import Model
from extract.variants import Variant

RECIPE = 1
"""Raised by any change, in this package, that moves a value by more than rounding."""


def compute_fingerprint(
    config: ExtractConfig,
    variant: Variant,
    model: Model[ExtractConfig],
    method: Method,
    hashes: Mapping[str, str],
    dataset: Dataset | None = None,
) -> Fingerprint:
    """Every setting that moves a value of a variant's maps.

    Args:
        config: The run's settings.
        variant: Timestep and ensemble size.
        model: What the maps are made with.
        method: What the maps are.
        hashes: `model.folder.hashes()`, which reads all weights.
        dataset: The images; None for single pictures.
    """
    fields: dict[str, int | str] = {
        "recipe": RECIPE,
        "method": config.method,
        **hashes,
        **method.identity(variant),
        "image_size": config.image_size,
        **RULES,
        **({} if dataset is None else formats_identity(dataset)),
        "compute_dtype": config.compute_dtype,
        "stored_dtype": config.stored_dtype,
        "mantissa_bits": config.stored_mantissa_bits,
    }
    if model.noising is not None:
        fields |= {**noising_identity(model.noising), "prompt_policy": model.policy.identity}
        fields |= family_of(model.folder).identity(model.folder)
    if model.folder.has_text and config.text_dtype != "fp32":
        fields["text_dtype"] = config.text_dtype
    if model.config.guidance is not None:
        fields["guidance"] = f"{model.config.guidance:g}"
    return Fingerprint(fields)


@dataclass(frozen=True)
class ModelSource:
    """Where a diffusion model is found.

    Attributes:
        model: Diffusers folder or hub id.
        revision: Commit hash of a hub id.
        vae: Folder or hub id of another autoencoder.
        vae_revision: Commit hash of that.
    """

    model: str
    revision: str | None = None
    vae: str | None = None
    vae_revision: str | None = None


_SAME_NAME = (
    *("method", "image_size", "timestep", "ensemble_size", "noise_seed", "inversion_steps", "map_cell", "error_space"),
    *("compute_dtype", "text_dtype", "stored_dtype", "mantissa_bits"),
)
"""Fields that are called like the setting."""
_NUMBERS = ("sigma", "guidance")
"""Fields that are called like the setting, and hold a number as text."""
MAX_FIELDS = {"image_size": 4096, "timestep": 10**6, "ensemble_size": 256, "inversion_steps": 1000, "map_cell": 4096}
"""Largest values that a stranger's detector may ask for."""
_NUMBER = re.compile(r"\d{1,3}(\.\d{1,6})?")
_FIXED = re.compile(r"fixed: (?P<prompt>.+)", re.DOTALL)
_TEMPLATE = re.compile(r"template: (?P<prompt>.+), else (?P<prompt_fallback>.+)", re.DOTALL)


def config_of(fields: Mapping[str, int | str], model: ModelSource, **changes: Any) -> ExtractConfig:
    """The settings that made a cache, read back from its fingerprint's fields.

    Args:
        fields: Of one cache; of a stranger's, perhaps.
        model: Where the diffusion model is.
        **changes: Settings that are no part of the identity, or are to differ: device, batch_size, compute_dtype.

    Raises:
        ValueError: If no settings of this code make such a cache, or they ask for more than `MAX_FIELDS`.
    """
    known: dict[str, Any] = {name: fields[name] for name in _SAME_NAME if name in fields}
    for name, most in MAX_FIELDS.items():
        value = known.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise ValueError(f"{name} of the maps is {value!r}: expected a number up to {most}")
    for name in _NUMBERS:
        if name in fields:
            known[name] = _read_number(name, fields[name])
    known["device"] = "cpu"
    text = str(fields.get("prompt_policy", "none"))
    return ExtractConfig(data="", cache="", **asdict(model), **_read_prompts(text) | known | changes)


def _read_number(name: str, text: int | str) -> float:
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ValueError(f"{name} of the maps is {text!r}: expected a number as text")
    return float(text)


def _read_prompts(identity: str) -> dict[str, Any]:
    """Settings of `PromptPolicy.identity`; the texts stand in it as Python writes them."""
    for policy, pattern in (("fixed", _FIXED), ("template", _TEMPLATE)):
        found = pattern.fullmatch(identity)
        if found:
            try:
                texts = {name: ast.literal_eval(text) for name, text in found.groupdict().items()}
            except (ValueError, SyntaxError) as error:
                raise ValueError(f"prompt_policy of the maps is {identity!r}: no texts can be read from it") from error
            return {"prompt_policy": policy, **texts}
    if identity != "none":
        raise ValueError(f"prompt_policy of the maps is {identity!r}: expected fixed, template or none")
    return {}
