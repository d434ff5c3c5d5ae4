"""What is measured of each photograph: its file, its mean error, and its local detail."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache_schema import Status, is_ok
from detect.calibrate.photographs import Photograph
from detect.detail import measure_detail
from detect.mapping import Item, Mapped, map_batches, prepare_batches
from detect.picture import Picture
from detect.prepare import Prepared, prepare
from detect.verdict import Answer, ImageFacts
from extract import LoadedProbe
from train import mean_lare


@dataclass(frozen=True)
class Measured:
    """A photograph that can be used.

    Attributes:
        name: As the picture's.
        group: What it is counted with.
        image: Facts of its file.
        mean_lare: Mean of its error map.
        gradient_energy: As `Prepared.gradient_energy`.
        detail: As of `measure_detail`.
    """

    name: str
    group: str
    image: ImageFacts
    mean_lare: float
    gradient_energy: float
    detail: tuple[float, ...]


def measure_photographs(
    loaded: LoadedProbe, photographs: Iterable[Photograph], batch_size: int, num_threads: int
) -> Iterator[Measured | Answer]:
    """Measure photographs in their order; an answer with an error where one cannot be used.

    Args:
        loaded: Makes the maps.
        photographs: Any number.
        batch_size: Photographs that the diffusion model sees at once.
        num_threads: Threads that load and decode.
    """
    probe, waiting = loaded.probe, deque[Photograph]()
    grid = probe.map_shape[1:]

    def pictures() -> Iterator[Picture]:
        for photograph in photographs:
            waiting.append(photograph)
            yield photograph.picture

    def keep(_: Image.Image, canvas: NDArray[np.uint8]) -> NDArray[np.float64]:
        return measure_detail(canvas, grid)

    def ready(picture: Picture) -> Item:
        return prepare(picture, [probe], keep)

    with closing(prepare_batches(pictures(), ready, batch_size, num_threads)) as batches:
        for mapped in map_batches([loaded], batches):
            yield from _measure(mapped, waiting)


def _measure(mapped: Mapped, waiting: deque[Photograph]) -> Iterator[Measured | Answer]:
    means = iter(zip(_means(mapped.lare), mapped.status.tolist(), mapped.reasons, strict=True))
    for item in mapped.items:
        photograph = waiting.popleft()
        if isinstance(item, Answer):
            yield item
            continue
        mean, status, reason = next(means)
        if is_ok(Status(status)):
            yield _of(item, photograph, mean)
        else:
            yield Answer(item.name, None, reason, Status(status).name.lower())


def _means(lare: NDArray[np.float32]) -> list[float]:
    return (-mean_lare(lare)).tolist() if len(lare) else []


def _of(item: Prepared, photograph: Photograph, mean: float) -> Measured:
    group = item.image.sha256 if photograph.group is None else photograph.group
    return Measured(item.name, group, item.image, mean, item.gradient_energy, tuple(item.kept.tolist()))
