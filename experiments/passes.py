"""Which passes of stage 1 make the caches of the questions that are answered from caches alone."""

from dataclasses import dataclass

from experiments.precision import list_precisions
from experiments.study.config import StudyConfig
from experiments.study.study import cache_name

FULL = ("--compute_dtype=fp32", "--stored_dtype=float32")


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
    t, e, sizes = config.timestep, config.ensemble_size, list(config.ensemble_sizes)
    others = [other for other in config.timesteps if other != t]
    passes = [
        Pass(
            f"ensemble sizes {sizes} at t = {t}",
            tuple(cache_name(t, size) for size in sizes),
            (*FULL, f"--timesteps=[{t}]", f"--ensemble_sizes={sizes}"),
            max(sizes),
        )
    ]
    if others:
        passes.append(
            Pass(
                f"timesteps {others} at e = {e}",
                tuple(cache_name(other, e) for other in others),
                (*FULL, f"--timesteps={others}", f"--ensemble_sizes=[{e}]"),
                e * len(others),
            )
        )
    bfloat = list_precisions(cache_name(t, e), config.mantissa_bits)[-1]
    arguments = ("--compute_dtype=bf16", "--stored_dtype=float32", f"--timestep={t}", f"--ensemble_size={e}")
    return [*passes, Pass(f"bfloat16 models at t = {t}, e = {e}", (bfloat.cache,), arguments, e, is_sweep=False)]
