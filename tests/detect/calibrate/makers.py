"""Photographs that were never measured: numbers as a diffusion model might give them."""

import hashlib

import numpy as np

from detect.calibrate.measuring import Measured
from detect.verdict import ImageFacts


def make_measured(num: int, seed: int = 0, group_size: int | None = None) -> list[Measured]:
    """Photographs whose log mean LaRE follows detail with noise; groups of a size share a part of their noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(-5, 1.5, (num, 2))
    numbers = np.arange(num) // (group_size or 1)
    shared = rng.normal(0, 0.3, num)[numbers] if group_size else 0
    means = np.exp(1 + features @ [0.6, 0.2] + shared + rng.normal(0, 0.3, num))
    found = []
    for n, (row, mean) in enumerate(zip(features.tolist(), means.tolist(), strict=True)):
        sha256 = hashlib.sha256(f"{seed} {n}".encode()).hexdigest()
        group = f"group {numbers[n]}" if group_size else sha256
        image = ImageFacts(sha256, 640 + n, 480, "JPEG" if n % 2 else "PNG", 90 if n % 2 else None)
        found.append(Measured(f"{n}.jpg", group, image, mean, float(np.exp(row[0])), tuple(row)))
    return found
