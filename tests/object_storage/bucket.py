"""A bucket seen past all code of ours: by requests that are signed here."""

import hashlib
import hmac
import re
from datetime import UTC, datetime
from html import unescape
from http.client import HTTPConnection
from urllib.parse import quote, urlencode, urlsplit

from tests.object_storage.swift import ACCESS_KEY, SECRET, Swift


class Bucket:
    """A bucket of a server.

    Args:
        swift: The server.
        name: Of the bucket.
    """

    def __init__(self, swift: Swift, name: str) -> None:
        self.swift, self.name = swift, name

    def create(self) -> None:
        """Make it."""
        self._ask("PUT")

    def keys(self, prefix: str = "") -> list[str]:
        """Keys of its objects, sorted; at most a thousand."""
        body = self._ask("GET", query={"list-type": "2", "prefix": prefix}).decode()
        return sorted(map(unescape, re.findall("<Key>(.*?)</Key>", body)))

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        return self._ask("GET", key)

    def write(self, key: str, data: bytes) -> None:
        """Put an object in place."""
        self._ask("PUT", key, data)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._ask("DELETE", key)

    def _ask(self, method: str, key: str = "", body: bytes = b"", query: dict[str, str] | None = None) -> bytes:
        """A request by AWS's signature, version 4."""
        host = urlsplit(self.swift.endpoint).netloc
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = f"/{self.name}/{quote(key)}" if key else f"/{self.name}"
        asked = urlencode(sorted((query or {}).items()), quote_via=quote, safe="")
        headers = {"host": host, "x-amz-content-sha256": hashlib.sha256(body).hexdigest(), "x-amz-date": now}
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        signed = ";".join(headers)
        request = f"{method}\n{path}\n{asked}\n{lines}\n{signed}\n{headers['x-amz-content-sha256']}"
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        digest = f"AWS4{SECRET}".encode()
        for part in (*scope.split("/"), text):
            digest = hmac.new(digest, part.encode(), hashlib.sha256).digest()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={signed}, Signature={digest.hex()}"
        )
        connection = HTTPConnection(host, timeout=60)
        try:
            connection.request(method, f"{path}?{asked}" if asked else path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            assert 200 <= answer.status < 300, (method, path, answer.status, content)
            return content
        finally:
            connection.close()
