"""A model's noise levels: its schedule, what identifies it, and which level the settings mean."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from diffusers import DDPMScheduler

from extract.config import ModelConfig
from extract.models.parts import ModelParts
from extract.models.settings import USUAL_TIMESTEPS
from extract.noising import (
    PREDICTION_TYPES,
    DdpmNoising,
    FlowNoising,
    reference_alpha,
    sigma_of_alpha,
)
from extract.variants import SIGMA_DECIMALS


def load_noising(folder: ModelParts, levels: Iterable[float] = ()) -> DdpmNoising | FlowNoising:
    """How a model's latents are noised. Samplers that its folder names play no part.

    Args:
        folder: The model.
        levels: Timesteps or σ that must be among its noise levels.

    Raises:
        ValueError: If the prediction type is not supported, or a level is none of the model's.
    """
    if folder.is_flow:
        flow = FlowNoising(folder.scheduler_config.get("num_train_timesteps", USUAL_TIMESTEPS))
        for level in levels:
            flow.noise_level(level)
        return flow
    scheduler: Any = DDPMScheduler.from_config(folder.scheduler_config)  # type: ignore[no-untyped-call]
    if scheduler.config.prediction_type not in PREDICTION_TYPES:
        raise ValueError(
            f"the model's prediction type is {scheduler.config.prediction_type!r}: supported are {PREDICTION_TYPES}"
        )
    for level in levels:
        if not 0 <= level < scheduler.config.num_train_timesteps:
            raise ValueError(f"timestep is {level}: the model has 0 … {scheduler.config.num_train_timesteps - 1}")
    return DdpmNoising(scheduler)


def resolve_levels(config: ModelConfig, noising: DdpmNoising | FlowNoising) -> dict[str, Any]:
    """Settings that name the model's own noise levels, timesteps or σ, in place of those given.

    Returns:
        Names and values to replace; none where the settings name them already.

    Raises:
        ValueError: If a σ is given for a model with timesteps.
    """
    snr, sigmas = config.snr_of_timestep, getattr(config, "sigmas", None)
    timesteps: list[int] | None = getattr(config, "timesteps", None)
    if isinstance(noising, FlowNoising):
        if sigmas or config.sigma is not None:
            return {}
        if timesteps:
            return {"timesteps": None, "sigmas": [_sigma_of(timestep) for timestep in timesteps]}
        return {"snr_of_timestep": None, "sigma": _sigma_of(config.timestep if snr is None else snr)}
    if sigmas or config.sigma is not None:
        raise ValueError(
            f"sigma is {', '.join(f'{sigma:g}' for sigma in sigmas or [config.sigma])}: this model is no flow matching "
            "model, and has timesteps. Pass --timestep, or --snr_of_timestep for equal noise"
        )
    if snr is None:
        return {}
    return {"snr_of_timestep": None, "timestep": noising.nearest_timestep(reference_alpha(snr))}


def _sigma_of(timestep: int) -> float:
    return round(sigma_of_alpha(reference_alpha(timestep)), SIGMA_DECIMALS)


def alphas_cumprod_sha256(scheduler: Any) -> str:
    """Hash of ten values of the noise schedule, rounded to four decimals.

    Not all values and not all digits: the last bit differs between processors, and a cache made on one machine must
    be accepted on the next.
    """
    alphas_cumprod = scheduler.alphas_cumprod.double().numpy()
    step = max(1, len(alphas_cumprod) // 10)
    # From the middle of each tenth: Stable Diffusion's first value, 0.99915, lies between two roundings.
    probes = alphas_cumprod[step // 2 :: step]
    return hashlib.sha256(np.rint(probes * 10_000).astype("<i4").tobytes()).hexdigest()


def noising_identity(noising: DdpmNoising | FlowNoising) -> dict[str, int | str]:
    """Fingerprint fields of how latents are noised. Those of an unusual schedule were added later."""
    if isinstance(noising, FlowNoising):
        usual = noising.num_train_timesteps == USUAL_TIMESTEPS
        return {"prediction_type": "flow"} | ({} if usual else {"num_train_timesteps": noising.num_train_timesteps})
    config = noising.scheduler.config
    fields: dict[str, int | str] = {
        "alphas_cumprod_sha256": alphas_cumprod_sha256(noising.scheduler),
        "prediction_type": config.prediction_type,
    }
    if config.num_train_timesteps != USUAL_TIMESTEPS:
        fields["num_train_timesteps"] = config.num_train_timesteps
    if config.trained_betas is not None:  # ten values say all of a formula, and little of a list
        betas = np.asarray(config.trained_betas, dtype="<f8")
        fields["trained_betas_sha256"] = hashlib.sha256(betas.tobytes()).hexdigest()
    return fields
