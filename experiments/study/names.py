"""Names of a study's caches and detectors: questions that need the same one name it alike and share it."""

from experiments.study.config import StudyConfig

VARIANTS = ("full", "map_only", "image_only")
"""Detectors: image and map, the map alone, the image alone."""


def run_name(variant: str, cache: str) -> str:
    """Name of a detector in `Study.fit`, "full-t200-e4".

    Args:
        variant: One of `VARIANTS`, or another word for arguments of its own.
        cache: Name of the cache. The image alone sees no map, so that it has one name: fit it on the default.
    """
    return variant if variant == "image_only" else f"{variant}-{cache}"


def cache_name(timestep: int, ensemble_size: int) -> str:
    """Folder of a cache below `StudyConfig.caches`, as a sweep of stage 1 names it."""
    return f"t{timestep}-e{ensemble_size}"


def timestep_caches(config: StudyConfig) -> dict[int, str]:
    """Timestep → name of its cache, at the default ensemble size."""
    return {t: cache_name(t, config.ensemble_size) for t in sorted(config.timesteps)}


def ensemble_caches(config: StudyConfig) -> dict[int, str]:
    """Ensemble size → name of its cache, at the default timestep."""
    return {e: cache_name(config.timestep, e) for e in sorted(config.ensemble_sizes)}


def mixed_cache_name(default: str) -> str:
    """Name of the cache of images of several sizes.

    Args:
        default: Name of the cache of the study's images.
    """
    return f"mixed-{default}"
