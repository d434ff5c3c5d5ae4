"""The caches of a sweep: what is averaged over how many draws at which noise level."""

from dataclasses import dataclass

SIGMA_DECIMALS = 6
"""Decimals of a flow matching noise level: what is computed with is what the fingerprint says."""


@dataclass(frozen=True, order=True)
class Variant:
    """One cache of a sweep: what is averaged over how many draws at which noise level."""

    timestep: int
    """Scheduler index of the noised latents; 0 where there is a σ."""
    ensemble_size: int
    """Number of noise draws that are averaged; 0 for a method without noise, which has no timestep either."""
    sigma: float = 0.0
    """Flow matching's σ; 0 for a model with timesteps."""

    @property
    def level(self) -> float:
        """The noise level as the model counts it: σ, or an integer timestep."""
        return self.sigma or self.timestep

    @property
    def name(self) -> str:
        """Its folder below the sweep's, "t200-e4" or "s0.36-e4"."""
        return f"{f's{self.sigma:g}' if self.sigma else f't{self.timestep}'}-e{self.ensemble_size}"


NO_DRAWS = Variant(0, 0)
"""The only variant of a method without noise."""


def check_sigma(name: str, sigma: float | None) -> None:
    """Raise ValueError if a σ is given and cannot be one, or has more decimals than the fingerprint keeps."""
    if sigma is not None and (not 0 < sigma < 1 or round(sigma, SIGMA_DECIMALS) != sigma):
        raise ValueError(f"{name} is {sigma}: expected a number between 0 and 1, of at most {SIGMA_DECIMALS} decimals")
