"""Scores without a detector, for comparison: the map's mean and the image's smoothness alone."""

import numpy as np

READINGS = ("mean_lare", "gradient_energy")
"""Their names."""

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (ITU-R BT.601)."""


def mean_lare(lare: np.ndarray) -> np.ndarray:
    """Score of maps: minus their mean, higher for generated images if the paper is right. Never inverted.

    Args:
        lare: (n, channels, h, w), float.

    Returns:
        (n,), float64.
    """
    means: np.ndarray = lare.mean(axis=(1, 2, 3), dtype=np.float64)
    return -means


def gradient_energy(canvas: np.ndarray) -> float:
    """Score of an image: minus the mean squared difference of neighbouring pixels' luma, higher for smooth images.

    Args:
        canvas: (h, w, 3), uint8.

    Returns:
        Minus the mean over all horizontal and vertical forward differences, luma in [0, 1].
    """
    luma = canvas @ LUMA / 255
    squares = [np.diff(luma, axis=axis) ** 2 for axis in (0, 1)]
    return -float(sum(s.sum() for s in squares) / sum(s.size for s in squares))
