"""What is counted and logged of requests: never a file's name, its pixels, or who sent it."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from detect.verdict import Answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

PATHS = ("/", "/docs", "/healthz", "/metrics", "/openapi.json", "/v1/detect", "/v1/detector")
FOLDERS = ("/static/", "/docs/")
QUIET = ("/healthz", "/metrics", *FOLDERS)
"""Are asked again and again by programs, or loaded with a page: in the log of level DEBUG alone."""
CUT = 499
"""Status that is counted where the client has gone before its answer; nobody receives it."""


class Metrics:
    """Counters of one service, in a registry of their own, in Prometheus' text format."""

    def __init__(self) -> None:
        """Begin at zero."""
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = registry = CollectorRegistry()
        self._requests = Counter("lare_requests", "Requests by path and status.", ("path", "status"), registry=registry)
        self._pictures = Counter(
            "lare_pictures", "Pictures by verdict; error where there is none.", ("verdict",), registry=registry
        )
        self._queue = Gauge("lare_queue_pictures", "Pictures in hand: waiting, or being judged.", registry=registry)
        self._batches = Histogram(
            "lare_batch_pictures", "Pictures of a batch.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self._seconds = Histogram(
            "lare_detect_seconds",
            "Seconds from the start of a request for verdicts to its answer.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Where the length of the queue is read."""
        self._queue.set_function(length)

    def count_batch(self, size: int) -> None:
        """A batch that the models see."""
        self._batches.observe(size)

    def count_answers(self, answers: Sequence[Answer]) -> None:
        """The answers of a request."""
        for answer in answers:
            self._pictures.labels("error" if answer.verdict is None else answer.verdict.verdict).inc()

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """A request that has been answered."""
        self._requests.labels(path, status).inc()
        if path == "/v1/detect":
            self._seconds.observe(seconds)

    def text(self) -> tuple[bytes, str]:
        """All numbers, and the text's media type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class Recorded:
    """ASGI middleware: every request is counted and logged, and errors of ours with where they come from.

    Args:
        app: What answers.
        metrics: Where it is counted.
    """

    def __init__(self, app: "ASGIApp", metrics: Metrics) -> None:
        """Keep both."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def noting(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:  # answered already, and raised again for those who log it
            logger.exception("a request failed: this is a bug in lare, please report it")
        finally:
            path, seconds = known_path(scope["path"]), time.monotonic() - began
            self._metrics.count_request(path, status or CUT, seconds)
            level = logging.DEBUG if path.startswith(QUIET) else logging.INFO
            logger.log(level, "%s %s %d, %.2f s", scope["method"], path, status or CUT, seconds)


def known_path(path: str) -> str:
    """The path where it is one of ours, else a word: a client can write anything into a path."""
    if path in PATHS:
        return path
    return next((f"{folder}…" for folder in FOLDERS if path.startswith(folder)), "another path")


def log_answers(answers: Sequence[Answer]) -> None:
    """A line a picture: its hash, sides and verdict. The reason for an error is left out: it may quote the file."""
    for answer in answers:
        if answer.verdict is None:
            logger.info("picture: no verdict, %s", answer.status)
        else:
            image = answer.verdict.image
            logger.info("picture %s, %d x %d px: %s", image.sha256, image.width, image.height, answer.verdict.verdict)
