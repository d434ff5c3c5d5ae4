"""Which passes of stage 1 make the caches of the questions that are answered from caches alone."""

from dataclasses import dataclass

from experiments.precision import BFLOAT, list_of
from experiments.study.config import StudyConfig
from experiments.study.names import cache_name, ensemble_caches, mixed_cache_name, timestep_caches


@dataclass(frozen=True)
class Pass:
    """One run of stage 1 over all images.

    Attributes:
        title: For people.
        caches: Names of those that it makes.
        arguments: What differs from the study's stage 1 settings.
        num_unet_calls: An image.
        is_sweep: As of `Study.extract`.
    """

    title: str
    caches: tuple[str, ...]
    arguments: tuple[str, ...]
    num_unet_calls: int
    is_sweep: bool = True

    @property
    def folder(self) -> str:
        """As of `Study.extract`."""
        return "" if self.is_sweep else self.caches[0]


def plan(config: StudyConfig) -> list[Pass]:
    """The passes, the one with the default cache first."""
    t, e, sizes = config.timestep, config.ensemble_size, list(ensemble_caches(config))
    full = (f"--compute_dtype={config.compute_dtype}", "--stored_dtype=float32")
    others = {other: name for other, name in timestep_caches(config).items() if other != t}
    passes = [
        Pass(
            f"ensemble sizes {sizes} at t = {t}",
            tuple(ensemble_caches(config).values()),
            (*full, f"--timesteps=[{t}]", f"--ensemble_sizes={sizes}"),
            max(sizes),
        )
    ]
    if others:
        passes.append(
            Pass(
                f"timesteps {list(others)} at e = {e}",
                tuple(others.values()),
                (*full, f"--timesteps={list(others)}", f"--ensemble_sizes=[{e}]"),
                e * len(others),
            )
        )
    arguments = ("--compute_dtype=bf16", "--stored_dtype=float32", f"--timestep={t}", f"--ensemble_size={e}")
    return passes + [
        Pass(f"bfloat16 models at t = {t}, e = {e}", (each.cache,), arguments, e, is_sweep=False)
        for each in list_of(config)
        if each.title == BFLOAT
    ]


def list_caches(config: StudyConfig) -> list[str]:
    """Names of the caches that the questions from caches alone read: made by `plan`, derived, or packed as they are."""
    default = cache_name(config.timestep, config.ensemble_size)
    made = {name for each in plan(config) for name in each.caches}
    derived = {each.cache for each in list_of(config)}
    return sorted(made | derived | {mixed_cache_name(default)})
