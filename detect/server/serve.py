"""`lare serve`: listens, loads the detector meanwhile, and ends in order."""

import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from PIL import Image

from cache_schema.program import EXIT_SIGINT
from detect.server.batches import Judge
from detect.server.config import ServeConfig
from detect.server.service import Service
from detect.server.telemetry import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)


def load_detector(config: ServeConfig) -> Judge:
    """The detector that the settings name."""
    return config.load()


def serve(config: ServeConfig, load: Callable[[ServeConfig], Judge] = load_detector) -> int:
    """Give verdicts on pictures over HTTP, until Ctrl-C or SIGTERM. Both are its ordinary end.

    Args:
        config: The settings.
        load: Gives the detector; runs while the service already listens, and answers 503.

    Returns:
        Exit status: 0, and 130 after a second Ctrl-C, which gives up the work in hand.

    Raises:
        ImportError: If a package of the extra `serve` is not installed.
        ValueError: If the address cannot be listened on.
        Exception: What loading the detector raises.
    """
    from detect.server.app import create_app

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are checked here, by rules of our own
    metrics = Metrics()
    service = Service(config, lambda: load(config), on_batch=metrics.count_batch)
    metrics.watch_queue(lambda: service.num_pictures)
    app = create_app(service, metrics)
    listener = listen(config)
    if not config.is_local:
        logger.warning(
            "Listening on %s: other machines can use this service too, under the names in allowed_hosts.", config.host
        )
    service.start()
    run_server(app, service, listener)
    status = EXIT_SIGINT if service.gave_up else 0
    if not service.stop():
        leave(status)
    if service.models.detector is None and service.models.error is not None:
        raise service.models.error
    return status


def leave(status: int) -> NoReturn:
    """End this process at once. Python's own end would abort while a thread computes in torch."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


def listen(config: ServeConfig) -> socket.socket:
    """A socket that listens on the settings' address.

    Raises:
        ValueError: If that is not possible.
    """
    family = socket.AF_INET6 if ":" in config.address else socket.AF_INET
    try:
        listener = socket.create_server((config.address, config.port), family=family, backlog=2048)
        # asyncio does this only for sockets that name their protocol. Without it the second part of an answer waits for
        # the client's delayed acknowledgement, 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"host is {config.host}, port {config.port}: cannot listen there, {reason}") from error


def run_server(app: "ASGIApp", service: Service, listener: socket.socket) -> None:
    """Answer requests until a signal comes and the work in hand is done, or the detector cannot be loaded.

    Outside the main thread no signal is seen; `service.close` ends it there.
    """
    from uvicorn import Config, Server

    address = listener.getsockname()
    host = f"[{address[0]}]" if ":" in address[0] else address[0]

    class OrderlyServer(Server):
        """Goes on answering after a signal: what is in hand with its verdicts, what is new with 503."""

        _gives_up = False

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # Not before: from here on a signal is the ordinary end, as the sentence says.
            logger.info("Listening on http://%s:%d, Ctrl-C ends it.", host, address[1])

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if service.is_closing and sig == signal.SIGINT:
                self._gives_up = True  # the second Ctrl-C
            elif not service.is_closing:
                service.close()
                logger.info("Ending. What is in hand is answered first; Ctrl-C once more gives it up.")

        async def on_tick(self, counter: int) -> bool:
            if self._gives_up and not service.gave_up:
                service.give_up()
            has_nothing_to_do = service.is_closing and service.is_idle
            could_not_load = service.models.detector is None and service.models.error is not None
            self.should_exit |= has_nothing_to_do or could_not_load
            return await super().on_tick(counter)

    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    settings = Config(
        app, http="h11", loop="asyncio", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=5,
    )  # fmt: skip
    OrderlyServer(settings).run(sockets=[listener])
