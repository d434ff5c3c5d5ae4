"""Pictures in, answers out: places in the queue, preparation in threads, and what is in hand when the service ends."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from detect.picture import Picture
from detect.server.batches import Broken, Job, Judge, ModelThread
from detect.server.budget import ByteBudget
from detect.server.config import ServeConfig
from detect.server.large import Turns
from detect.server.refusals import Refusal
from detect.verdict import Answer

logger = logging.getLogger(__name__)

BROKEN = "The detector has failed, and this service cannot give verdicts until it is started again."


class Service:
    """A detector that many requests share.

    Args:
        config: With the limits.
        load: Gives the detector; runs in the models' thread.
        on_batch: Called in that thread with the number of pictures of each batch.
    """

    def __init__(
        self,
        config: ServeConfig,
        load: Callable[[], Judge],
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Nothing is loaded yet."""
        self.config, self.budget = config, ByteBudget(config.max_bytes_in_flight)
        self.models = ModelThread(load, on_batch)
        self.is_closing, self.gave_up = False, False
        self._turns = Turns()
        self._requests: set[asyncio.Task[Any]] = set()
        self._num_pictures, self._lock = 0, threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def num_pictures(self) -> int:
        """Pictures in hand: admitted, and not yet done with."""
        return self._num_pictures

    @property
    def is_idle(self) -> bool:
        """Whether no request is in hand."""
        return not self._requests

    def start(self) -> None:
        """Begin to load the models."""
        self.models.start()

    def close(self) -> None:
        """Take no new requests; those in hand go on."""
        self.is_closing = True

    def give_up(self) -> None:
        """Take no new requests, and refuse those in hand. Called in the event loop."""
        self.is_closing = self.gave_up = True
        for task in self._requests:
            task.cancel()

    def stop(self) -> bool:
        """End the threads, after the last request. Whether they have; one that loads, or works for nobody, may not."""
        has_ended = self.models.stop(timeout=0.0 if self.gave_up or self.models.state == "loading" else 5.0)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        return has_ended

    def check_open(self) -> Judge:
        """The detector.

        Raises:
            Refusal: 503 while the models load or the service ends, 500 after the models have failed.
        """
        if self.models.state == "broken":
            raise Refusal(500, BROKEN)
        if self.is_closing:
            raise _shutting_down()
        if self.models.detector is None:
            raise Refusal(503, "The models are still being loaded: try again in a moment.")
        return self.models.detector

    @contextmanager
    def request(self) -> Iterator[Judge]:
        """One request in hand; the service does not end before it.

        Raises:
            Refusal: As `check_open`; 503 where no picture finds a place, so that the body need not be read; 503 where
                the service gives up.
        """
        detector = self.check_open()
        if self._num_pictures >= self.config.queue_size:
            raise _queue_full()
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            yield detector
        except asyncio.CancelledError:
            if self.gave_up:
                raise _shutting_down() from None
            raise
        finally:
            self._requests.discard(task)

    async def answer(self, detector: Judge, pictures: Sequence[Picture]) -> list[Answer]:
        """The answers on a request's pictures, in order. If the caller is cancelled, so is work that has not begun.

        Raises:
            Refusal: 503 where they find no place in the queue, 500 where the models fail.
        """
        self._take_places(len(pictures))
        jobs = [Job(picture, self._give_place) for picture in pictures]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max(1, detector.num_threads), "prepare")
        for job in jobs:
            self._pool.submit(self._prepare, detector, job)
        try:
            return await asyncio.gather(*(asyncio.wrap_future(job.answer) for job in jobs))
        except Broken as error:
            raise Refusal(500, BROKEN) from error
        finally:
            for job in jobs:
                job.abandon()

    def _prepare(self, detector: Judge, job: Job) -> None:
        picture = job.picture
        if picture is None:
            job.end()
            return
        try:
            data = picture.load()
            assert isinstance(data, bytes)  # an upload is in memory already
            with self._turns.take(data):
                prepared = detector.prepare(picture)
        except BaseException as error:
            job.end(error)
            return
        if isinstance(prepared, Answer):
            job.end(prepared)
        else:
            job.prepared = prepared
            self.models.submit(job)

    def _take_places(self, number: int) -> None:
        with self._lock:
            if self._num_pictures + number > self.config.queue_size:
                raise _queue_full()
            self._num_pictures += number

    def _give_place(self) -> None:
        with self._lock:
            self._num_pictures -= 1


def _shutting_down() -> Refusal:
    return Refusal(503, "The service is shutting down.")


def _queue_full() -> Refusal:
    return Refusal(503, "Too many pictures are waiting: try again in a moment.")
