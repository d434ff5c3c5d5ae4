"""One thread that owns the models: pictures of all requests that arrive together share a batch."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Literal, Protocol

from detect.picture import Picture
from detect.verdict import Answer

logger = logging.getLogger(__name__)

MAX_WAIT_SEC = 0.005
"""How long a batch that is not full waits for more pictures."""


class Judge(Protocol):
    """What the service needs of a detector."""

    batch_size: int
    num_threads: int

    def prepare(self, picture: Picture) -> Any:
        """Work of the CPU on one picture, in any thread; an `Answer` with an error where it cannot be used."""
        ...

    def judge(self, prepared: Sequence[Any]) -> list[Answer]:
        """The models' answers on one batch, in order; called by one thread alone."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts about the detector, plain values."""
        ...


class Broken(RuntimeError):
    """The models have failed; there is no answer, now or later."""


class Job:
    """One picture on its way to an answer.

    Args:
        picture: It.
        on_end: Called once nobody works on it any more.
    """

    def __init__(self, picture: Picture, on_end: Callable[[], None]) -> None:
        """Begin without an answer."""
        self.picture: Picture | None = picture
        self.answer: Future[Answer] = Future()
        self.prepared: Any = None
        self._is_claimed: bool | None = None
        self._on_end = on_end

    def claim(self) -> bool:
        """Whether somebody still waits for the answer; from here on the wait cannot be given up."""
        if self._is_claimed is None:
            self._is_claimed = self.answer.set_running_or_notify_cancel()
        return self._is_claimed

    def abandon(self) -> None:
        """Nobody waits any more: leave out the work that has not begun, and free the bytes."""
        self.answer.cancel()
        self.picture = None

    def end(self, outcome: Answer | BaseException | None = None) -> None:
        """Give the answer or the error to whoever still waits. None is for a job that nobody waits for."""
        self.picture = self.prepared = None
        is_wanted = self.claim()
        self._on_end()  # first, so that whoever has the answer finds the place free
        if not is_wanted:
            return
        if isinstance(outcome, Answer):
            self.answer.set_result(outcome)
        else:
            self.answer.set_exception(outcome)


class ModelThread:
    """Loads a detector and answers prepared pictures, a batch at a time.

    Args:
        load: Gives the detector; runs in the thread.
        on_batch: Called in the thread with the number of pictures of each batch.
    """

    def __init__(
        self,
        load: Callable[[], Judge],
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Nothing runs yet."""
        self._load, self._on_batch = load, on_batch
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.detector: Judge | None = None
        self.error: BaseException | None = None
        # A daemon: loading cannot be interrupted, and the program may end meanwhile.
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    @property
    def state(self) -> Literal["loading", "ready", "broken"]:
        """What a request can expect."""
        if self.error is not None:
            return "broken"
        return "loading" if self.detector is None else "ready"

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End once the batches in hand are answered. Whether it has ended after `timeout` seconds."""
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def submit(self, job: Job) -> None:
        """Queue a prepared picture. Its answer follows in any case: an error, where the models have failed."""
        with self._lock:  # between a failure's drain of the queue and this put
            if self.error is None:
                self._queue.put(job)
                return
        job.end(self._broken())

    def _run(self) -> None:
        try:
            self.detector = self._load()
            while (batch := self._next_batch(self.detector.batch_size)) is not None:
                self._judge(self.detector, batch)
        except BaseException as error:  # whatever it is, those who wait must hear of it
            if self.detector is not None:
                logger.exception("the models failed: no picture can be judged until the service is started again")
            self._fail(error)

    def _next_batch(self, batch_size: int) -> list[Job] | None:
        """Up to a batch of jobs that are still wanted; None at the end."""
        batch: list[Job] = []
        deadline = 0.0
        while len(batch) < batch_size:
            try:
                job = self._queue.get(timeout=max(0.0, deadline - time.monotonic()) if batch else None)
            except queue.Empty:
                break
            if job is None:
                if not batch:
                    return None
                self._queue.put(None)  # for the next call
                break
            if not job.claim():
                job.end()
                continue
            if not batch:
                deadline = time.monotonic() + MAX_WAIT_SEC
            batch.append(job)
        return batch

    def _judge(self, detector: Judge, batch: list[Job]) -> None:
        self._on_batch(len(batch))
        try:
            answers = detector.judge([job.prepared for job in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"the detector gave {len(answers)} answers on {len(batch)} pictures")
        except BaseException as error:
            for job in batch:
                job.end(Broken(str(error)))
            raise
        for job, answer in zip(batch, answers, strict=True):
            job.end(answer)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = error
        while not self._queue.empty():
            job = self._queue.get()
            if job is not None:
                job.end(self._broken())

    def _broken(self) -> Broken:
        return Broken(str(self.error))
