"""Noise as a function of (seed, sample key, draw): independent of batch, shard and worker."""

import hashlib

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

NOISE_RULE = "lare/1"
"""Names the rule below in the hashed text and in a cache's fingerprint."""
POSTERIOR_DRAW = -1
"""Number of the draw that samples the VAE's posterior; the noise draws are 0, 1, 2, …"""


def sample_noise(seed: int, sample_key: str, draw: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal noise that depends on the arguments alone.

    Args:
        seed: The run's noise seed.
        sample_key: Key of the image.
        draw: 0, 1, … for the noise draws, `POSTERIOR_DRAW` for the VAE's posterior sample.
        shape: Shape of the result.

    Returns:
        Noise of that shape, float32, zero mean and unit variance.
    """
    digest = hashlib.sha256(f"{NOISE_RULE}|{seed}|{draw}|{sample_key}".encode()).digest()
    # numpy's Philox takes a 128-bit key. A torch.Generator on the CPU keeps only 32 bits of its seed: too few for keys.
    rng = Generator(Philox(key=int.from_bytes(digest[:16], "little")))
    return rng.standard_normal(shape, dtype=np.float32)


def sample_draws(seed: int, sample_key: str, num_draws: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draws 0 … num_draws − 1 of one image, (num_draws, *shape), float32. More draws only append."""
    draws = np.empty((num_draws, *shape), np.float32)
    for draw in range(num_draws):
        draws[draw] = sample_noise(seed, sample_key, draw, shape)
    return draws


def noise_probe() -> str:
    """SHA-256 of one draw rounded to 1/1000, so that a numpy whose stream differs is refused.

    Rounding keeps a last-bit difference between processors from counting as another stream.
    """
    draw = sample_noise(0, "probe", 0, (64,))
    return hashlib.sha256(np.rint(draw * 1000).astype("<i2").tobytes()).hexdigest()
