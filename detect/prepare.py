"""A picture's bytes as tensors, with all that is known of the file: everything that needs no network."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache_schema import ImageRejected, Status, resize_canvas
from detect.picture import Picture
from detect.reading.decoding import OpenedPicture, open_picture
from detect.reading.marks import read_marks
from detect.verdict import Answer, ImageFacts, Note
from extract import Probe
from train import gradient_energy

PIXELS = "pixels"
"""Format of a picture that was given without a file."""


@dataclass(frozen=True)
class Prepared:
    """A picture that waits for the networks.

    Attributes:
        name: As the picture's.
        rows: Its tensors, one `extract.Row` a probe.
        kept: What its scorer wants of it, `detect.scorers.Scorer.keep`.
        image: Facts of the file.
        gradient_energy: Mean squared difference of neighbouring pixels on the canvas, ≥ 0.
        notes: What was seen in the file; the marks that it carries last.
        start: When its preparation began, by `time.perf_counter`.
    """

    name: str
    rows: tuple[Any, ...]
    kept: Any
    image: ImageFacts
    gradient_energy: float
    notes: tuple[Note, ...]
    start: float = field(default_factory=time.perf_counter)


def prepare(
    picture: Picture, probes: Sequence[Probe], keep: Callable[[Image.Image, NDArray[np.uint8]], Any]
) -> Prepared | Answer:
    """Load, decode and resize a picture, and draw its noise. Safe in any thread.

    Args:
        picture: Which.
        probes: Whose maps are wanted.
        keep: (picture, first probe's canvas) → what its scorer wants of it. It may raise `ImageRejected`.

    Returns:
        An answer with an error where the picture cannot be used.
    """
    start = time.perf_counter()
    try:
        loaded = picture.load()
        opened, sha256 = _open(loaded)
        marks = read_marks(loaded) if isinstance(loaded, bytes) else ()
        canvases = {size: resize_canvas(opened.image, size) for size in {probe.config.image_size for probe in probes}}
        canvas = canvases[probes[0].config.image_size]
        kept = keep(opened.image, canvas)
    except ImageRejected as rejection:
        return Answer(picture.name, None, rejection.reason, rejection.status.name.lower())
    except OSError as error:
        reason = error.strerror or str(error)
        return Answer(picture.name, None, f"cannot be read: {reason.lower()}", Status.UNREADABLE.name.lower())
    key = picture.sample_key if picture.sample_key is not None else f"sha256:{sha256.hex()}"
    rows = tuple(probe.make_row(key, canvases[probe.config.image_size], sha256) for probe in probes)
    image = ImageFacts(sha256.hex(), opened.width, opened.height, opened.format, opened.jpeg_quality)
    energy = -gradient_energy(canvas)
    return Prepared(picture.name, rows, kept, image, energy, (*opened.notes, *marks), start)


def _open(loaded: bytes | Image.Image) -> tuple[OpenedPicture, bytes]:
    """The decoded picture, and the hash of its bytes or pixels."""
    if isinstance(loaded, bytes):
        return open_picture(loaded), hashlib.sha256(loaded).digest()
    if 0 in loaded.size:
        raise ImageRejected(Status.UNREADABLE, f"{loaded.width} x {loaded.height} pixels")
    size = f"{loaded.width}x{loaded.height} ".encode()
    opened = OpenedPicture(loaded, loaded.width, loaded.height, PIXELS, None, ())
    return opened, hashlib.sha256(size + loaded.tobytes()).digest()
