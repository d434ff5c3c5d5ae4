"""A proxy before the server that answers as a service in trouble does, and counts what it is asked."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler", int, list[tuple[str, str]], bytes], None]
"""Answers a request in place of the server, given its answer."""
HANG_SEC = 600.0


@dataclass(frozen=True)
class Request:
    """A request that came."""

    method: str
    path: str
    range: str
    num_bytes: int
    """Of the answer's body."""


class Proxy:
    """The proxy, as a context.

    Args:
        endpoint: Of the server behind it.

    Attributes:
        requests: What came, in order.
        fault: Which fault a request meets: a function of its number, from 0, and of the request; None: no fault.
    """

    def __init__(self, endpoint: str) -> None:
        self.behind = urlsplit(endpoint).netloc
        self.requests: list[Request] = []
        self.fault: Callable[[int, Request], Fault | None] = lambda n, request: None
        self.lock, self.ended = threading.Lock(), threading.Event()
        handler = type("Bound", (Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Passes a request on, unless it is to meet a fault."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = HTTPConnection(self.proxy.behind, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        request = Request(self.command, unquote(urlsplit(self.path).path), self.headers.get("Range", ""), len(content))
        with self.proxy.lock:
            number = len(self.proxy.requests)
            self.proxy.requests.append(request)
        fault = self.proxy.fault(number, request) or send
        fault(self, answer.status, answer.getheaders(), content)


for _method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
    setattr(Handler, f"do_{_method}", Handler._handle)


def send(handler: Handler, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
    """The server's own answer."""
    _send_head(handler, status, headers)
    handler.wfile.write(content)


def _send_head(handler: Handler, status: int, headers: list[tuple[str, str]]) -> None:
    handler.send_response_only(status)
    for name, value in headers:
        if name.lower() not in ("connection", "transfer-encoding"):
            handler.send_header(name, value)
    handler.end_headers()


def fail(handler: Handler, *_: Any) -> None:
    """500."""
    _send_head(handler, 500, [("Content-Length", "0")])


def wait(handler: Handler, *_: Any) -> None:
    """503 that asks for patience."""
    _send_head(handler, 503, [("Content-Length", "0"), ("Retry-After", "1")])


def cut(handler: Handler, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
    """A connection that ends in the middle of the body, or where there is none, before the answer."""
    if content:
        _send_head(handler, status, headers)
        handler.wfile.write(content[: len(content) // 2])
        handler.wfile.flush()
    handler.close_connection = True
    handler.connection.close()


def shorten(handler: Handler, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
    """A body that is shorter than it should be, and says so."""
    if handler.command == "HEAD":
        return send(handler, status, headers, content)
    half = content[: len(content) // 2]
    changed = [(n, str(len(half)) if n.lower() == "content-length" else value) for n, value in headers]
    _send_head(handler, status, changed)
    handler.wfile.write(half)


def hang(handler: Handler, *_: Any) -> None:
    """No answer at all."""
    handler.proxy.ended.wait(HANG_SEC)
    handler.close_connection = True


FAULTS: dict[str, Fault] = {"500": fail, "503": wait, "cut": cut, "short": shorten, "hang": hang}
