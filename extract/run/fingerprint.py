"""Which settings are part of a cache's identity."""

from collections.abc import Mapping

from cache_schema import RULES, Fingerprint
from extract.config import ExtractConfig, Variant
from extract.models.stable_diffusion import alphas_cumprod_sha256
from extract.run.methods import Method
from extract.run.model import Model

RECIPE = 1
"""Raised by any change, in this package, that moves a value by more than rounding."""


def compute_fingerprint(
    config: ExtractConfig, variant: Variant, model: Model, method: Method, hashes: Mapping[str, str]
) -> Fingerprint:
    """Every setting that moves a value of a variant's maps.

    Args:
        config: The run's settings.
        variant: Timestep and ensemble size.
        model: What the maps are made with.
        method: What the maps are.
        hashes: `model.folder.hashes()`, which reads all weights.
    """
    fields: dict[str, int | str] = {
        "recipe": RECIPE,
        "method": config.method,
        **hashes,
        **method.identity(variant),
        "image_size": config.image_size,
        **RULES,
        "compute_dtype": config.compute_dtype,
        "stored_dtype": config.stored_dtype,
        "mantissa_bits": config.stored_mantissa_bits,
    }
    if model.needs.unet:
        fields |= {
            "alphas_cumprod_sha256": alphas_cumprod_sha256(model.scheduler),
            "prediction_type": model.scheduler.config.prediction_type,
            "prompt_policy": model.policy.identity,
        }
    return Fingerprint(fields)
