"""Large pictures are decoded one at a time: a small file can claim 100 million pixels, which take 1.5 GB."""

import io
import threading
from contextlib import AbstractContextManager, nullcontext

from cache_schema import open_image

LARGE_PIXELS = 16_000_000
"""Above what most cameras make. Decoding takes up to 16 bytes a pixel, with transparency put over white."""


class Turns:
    """Who may decode now: any number of usual pictures, and one large one."""

    def __init__(self) -> None:
        """Nobody decodes yet."""
        self._lock = threading.Lock()

    def take(self, data: bytes) -> AbstractContextManager[object]:
        """Held while a file is decoded.

        Args:
            data: The file.
        """
        return self._lock if is_large(data) else nullcontext()


def is_large(data: bytes) -> bool:
    """Whether a file claims more than `LARGE_PIXELS`, or is in no format that Pillow reads for us."""
    try:
        with open_image(io.BytesIO(data)) as image:
            return image.width * image.height > LARGE_PIXELS
    except Exception:  # hostile headers raise nearly any class; so do bombs, by Pillow's own limit
        return True
