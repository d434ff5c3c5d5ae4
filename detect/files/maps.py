"""Error maps on the disk: a figure to look at and an array of each picture."""

import hashlib
import io
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from cache_schema import ImageRejected, Status, new_opened, write_bytes
from detect.files.names import file_stem, show_name
from detect.picture import Picture
from detect.pictures import map_figure
from detect.reading.decoding import open_picture
from detect.verdict import Answer, Verdict

logger = logging.getLogger(__name__)

NUM_THREADS = min(4, os.cpu_count() or 1)
"""Each holds a decoded picture, which may be large."""
MAX_WAITING = 16
"""Answers whose maps are being written."""


class MapFolder:
    """Writes `<name>.png` and `<name>.npy` of each picture into a folder.

    The picture is loaded and decoded a second time: a verdict holds no pixels. Threads do it, while the networks work
    on others.

    Args:
        folder: It is made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def write_all(self, pairs: Iterable[tuple[Picture, Answer]]) -> Iterator[tuple[Answer, Path | None]]:
        """Write the maps of answers that come one after the other.

        Args:
            pairs: Each picture with its answer.

        Yields:
            Each answer in its order, once its files are written, with the figure's path; None where there is none.

        Raises:
            OSError: If the folder cannot be written.
        """
        waiting: deque[tuple[Answer, Future[Path | None] | None]] = deque()
        with ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="maps") as pool:
            try:
                for picture, answer in pairs:
                    verdict = answer.verdict
                    waiting.append((answer, None if verdict is None else pool.submit(self.write, picture, verdict)))
                    while waiting and (len(waiting) > MAX_WAITING or _is_done(waiting[0][1])):
                        yield _settle(*waiting.popleft())
                while waiting:
                    yield _settle(*waiting.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def write(self, picture: Picture, verdict: Verdict) -> Path | None:
        """Write both files, in place of older ones.

        The array is the verdict's map, (c, h, w), float32. The names follow from the picture's name alone, and never
        leave the folder.

        Returns:
            The figure's path; None, and a warning, where the picture cannot be had again.

        Raises:
            OSError: If the folder cannot be written.
        """
        stem = file_stem(picture.name)
        with new_opened(self.folder / f"{stem}.npy", durable=False) as file:
            np.save(file, np.ascontiguousarray(verdict.lare, np.float32), allow_pickle=False)
        try:
            image = _load_again(picture, verdict)
        except (OSError, ImageRejected) as error:
            logger.warning("%s: no figure of its error map (%s)", show_name(picture.name), error)
            return None
        figure = io.BytesIO()
        map_figure(image, verdict).save(figure, "PNG")
        path = self.folder / f"{stem}.png"
        write_bytes(path, figure.getvalue(), durable=False)
        return path


def _is_done(written: Future[Path | None] | None) -> bool:
    return written is None or written.done()


def _settle(answer: Answer, written: Future[Path | None] | None) -> tuple[Answer, Path | None]:
    return answer, None if written is None else written.result()


def _load_again(picture: Picture, verdict: Verdict) -> Image.Image:
    loaded = picture.load()
    if isinstance(loaded, Image.Image):
        return loaded
    if hashlib.sha256(loaded).hexdigest() != verdict.image.sha256:
        raise ImageRejected(Status.UNREADABLE, "the file has changed since it was read for the verdict")
    return open_picture(loaded).image
