"""An error map as a small picture for the page: one pixel a cell, bright where the error is high."""

import base64
import io

import numpy as np
from numpy.typing import NDArray

from detect.pictures import heat_image


def map_png(lare: NDArray[np.float32]) -> str:
    """The map in the colours of `heat_image`, scaled to its own cells: pictures cannot be compared by it.

    Args:
        lare: (channels, h, w), float32.

    Returns:
        PNG of w × h pixels, base64.
    """
    buffer = io.BytesIO()
    heat_image(lare).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
