"""Which requests come in, and what a browser is told about every answer: no other web site may use this service."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from detect.server.config import ServeConfig
from detect.server.refusals import Refusal

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""No inline script or style, nothing of another host; pictures also from the page's own memory."""
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """ASGI middleware: foreign Host and Origin headers are refused, and security headers added.

    Without the check of Host, a foreign site whose name is made to point to this machine would count as the page itself
    in the browser (DNS rebinding). Without the check of Origin, it could send pictures, though not read the answers.

    Args:
        app: What answers.
        config: With the names that are allowed.
    """

    def __init__(self, app: "ASGIApp", config: ServeConfig) -> None:
        """Keep both."""
        self._app, self._names = app, config.host_names

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        from starlette.datastructures import Headers, MutableHeaders

        async def secured(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store" if scope["path"].startswith("/v1/") else "no-cache")
            await send(message)

        refusal = self._find_refusal(Headers(scope=scope))
        answer = self._app if refusal is None else refusal.response()
        await answer(scope, receive, secured)

    def _find_refusal(self, headers: "Headers") -> Refusal | None:
        if _host_name("//" + headers.get("host", "")) not in self._names:
            return Refusal(
                400, "The request is addressed to a name that this service does not have: see allowed_hosts."
            )
        if "origin" in headers and _host_name(headers["origin"]) not in self._names:
            return Refusal(403, "The request comes from another web site.")
        return None


def _host_name(address: str) -> str | None:
    """The host of an address without its port, in lower case; None where there is none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
