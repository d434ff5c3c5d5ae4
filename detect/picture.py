"""A picture that is asked about: a name, and how its bytes or pixels are had."""

import errno
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cache_schema import ImageRejected, ObjectPath, Place, Status, place, read_plain

MAX_FILE_BYTES = 2**30
"""A file above this size is no picture that anyone asks about; it would be read into the memory whole."""

Given = str | Path | ObjectPath | bytes | Image.Image | np.ndarray
"""What `Picture.of` takes: a path or an address in object storage, a file's bytes, or pixels."""


@dataclass(frozen=True)
class Picture:
    """One picture. Its bytes are loaded when its turn comes, in a thread of their own.

    Attributes:
        name: What the answer calls it.
        load: Gives a whole file's bytes, or pixels in mode RGB. It may raise OSError or
            `ImageRejected`, and `StorageError`, which ends the work: it says nothing of the picture.
        sample_key: Key of a packed dataset's sample, whose noise is then used; None: the noise follows from the bytes.
    """

    name: str
    load: Callable[[], bytes | Image.Image]
    sample_key: str | None = None

    @classmethod
    def of(cls, given: Given, name: str = "", sample_key: str | None = None) -> "Picture":
        """A picture from whatever a program has in hand.

        Args:
            given: Path of a file or address of an object, a file's bytes, a Pillow image, or an array (height, width,
                3), uint8.
            name: What the answer calls it; by default the path.
            sample_key: As the attribute.

        Raises:
            TypeError: If it is something else.
            ValueError: If it is no address of ours.
        """
        if isinstance(given, str | Path | ObjectPath):
            where = place(given)
            return cls(name or str(given), lambda: read_file(where), sample_key)
        if isinstance(given, bytes | bytearray | memoryview):
            data = bytes(given)
            return cls(name, lambda: data, sample_key)
        if isinstance(given, Image.Image):
            return cls(name, lambda: given.convert("RGB"), sample_key)
        if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 3 and given.shape[2] == 3:
            return cls(name, lambda: Image.fromarray(given), sample_key)
        raise TypeError(
            f"a picture is given as {_describe(given)}: expected a path, bytes, a Pillow image or an array "
            "(height, width, 3) of uint8"
        )


def read_file(path: Place) -> bytes:
    """A file's bytes, within `MAX_FILE_BYTES`.

    Raises:
        ImageRejected: If it is larger, or no regular file.
        OSError: If it cannot be read.
        StorageError: If object storage does not answer, or refuses.
    """
    if isinstance(path, ObjectPath):
        return _read_object(path)
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
        raise ImageRejected(Status.UNREADABLE, "no regular file")
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ImageRejected(Status.TOO_LARGE, f"more than {MAX_FILE_BYTES} bytes")
    return data


def _read_object(path: ObjectPath) -> bytes:
    try:
        return read_plain(path, MAX_FILE_BYTES)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise ImageRejected(Status.TOO_LARGE, f"more than {MAX_FILE_BYTES} bytes") from error


def _describe(given: Any) -> str:
    shape = getattr(given, "shape", None)
    return f"{type(given).__name__} {shape} of {given.dtype}" if shape is not None else type(given).__name__
