"""Real services on loopback ports, in this process and in others, with a detector that has no models."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from detect.server.app import create_app
from detect.server.batches import Judge
from detect.server.config import ServeConfig
from detect.server.serve import listen, run_server
from detect.server.service import Service
from detect.server.telemetry import Metrics
from tests.detect.server.fake import FakeDetector
from tests.detect.server.process import Process
from tests.detect.server.waiting import wait_until


@dataclass(frozen=True)
class Running:
    """A service that runs, and a client of it."""

    detector: FakeDetector
    service: Service
    client: httpx.Client
    port: int

    def detect(self, *files: bytes, name: str = "picture.png", **options: Any) -> httpx.Response:
        """Ask about files."""
        return self.client.post("/v1/detect", files=[("files", (name, data)) for data in files], **options)

    def healthz(self) -> int:
        return self.client.get("/healthz").status_code


@contextmanager
def running(detector: FakeDetector, load: Callable[[], Judge] | None = None, **settings: Any) -> Iterator[Running]:
    """Run a service in a thread, and end it in order."""
    config = ServeConfig(**{"detector": "a folder", "port": 0, **settings})
    metrics = Metrics()
    service = Service(config, load or (lambda: detector), metrics.count_batch)
    metrics.watch_queue(lambda: service.num_pictures)
    listener = listen(config)
    port = listener.getsockname()[1]
    service.start()
    thread = threading.Thread(target=run_server, args=(create_app(service, metrics), service, listener))
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            if load is None:
                wait_until(lambda: service.models.state == "ready")
            yield Running(detector, service, client, port)
    finally:
        detector.gate.set()
        service.close()
        thread.join(30)
        service.stop()
        assert not thread.is_alive()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Starts services that end with the test: `start(detector, setting=value)`."""
    with ExitStack() as stack:
        yield lambda detector=None, **settings: stack.enter_context(running(detector or FakeDetector(), **settings))


@pytest.fixture
def served(start: Callable[..., Running]) -> Running:
    """A service with its default settings."""
    return start()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts services that end with the test."""
    processes: list[Process] = []

    def start(*settings: str) -> Process:
        processes.append(Process(tmp_path, "tests.detect.server.program", *settings))
        return processes[-1]

    yield start
    for process in processes:
        process.close()
