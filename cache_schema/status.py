"""What became of a row of a store: ok, ok after a second try in fp32, or rejected."""

from enum import IntEnum
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


class Status(IntEnum):
    """What became of a row. Above 1 the image is rejected: its map is NaN and a reason is recorded."""

    OK = 0
    OK_AFTER_FP32 = 1
    """The map was not finite in the compute dtype, and is in fp32."""
    UNREADABLE = 2
    TOO_LARGE = 3
    NON_FINITE = 4
    """Not finite in fp32 either."""
    MISSING = 255
    """Fill value: nobody wrote this row."""


@overload
def is_ok(status: int) -> bool: ...
@overload
def is_ok(status: NDArray[Any]) -> NDArray[np.bool_]: ...
def is_ok(status: int | NDArray[Any]) -> bool | NDArray[np.bool_]:
    """Whether a row has a map, in the compute dtype or after a retry in fp32; an array of statuses gives an array."""
    return status <= Status.OK_AFTER_FP32
