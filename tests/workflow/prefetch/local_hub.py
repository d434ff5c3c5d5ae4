"""A model hub on this machine: the part of the Hub's HTTP API that fetching uses, over folders of files."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories by id, each a folder at one commit."""

    def __init__(self, repositories: Mapping[str, Path], commit: str) -> None:
        self.repositories, self.commit = repositories, commit
        self.address = ""
        self.requests: list[str] = []
        """Methods and paths that were asked for."""

    def served(self) -> set[str]:
        """Paths of files whose content was sent, with their repository."""
        got = [line.removeprefix("GET /") for line in self.requests if line.startswith("GET /") and "/resolve/" in line]
        return {re.sub("/resolve/[^/]+/", "/", path) for path in got}


@contextmanager
def serve(repositories: Mapping[str, Path], commit: str) -> Iterator[Hub]:
    """Serve repositories until the end of the block."""
    hub = Hub(repositories, commit)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            for name, folder in hub.repositories.items():
                if path.startswith(f"/api/models/{name}"):
                    rest = path.removeprefix(f"/api/models/{name}").strip("/").split("/")
                    return self._api(name, folder, rest, with_body=with_body)
                if path.startswith(f"/{name}/resolve/"):
                    revision, _, file = path.removeprefix(f"/{name}/resolve/").partition("/")
                    return self._file(folder / file, revision, with_body=with_body)
            self._send(200 if path == "/" else 404, {}, b"", with_body=with_body)

        def _api(self, name: str, folder: Path, rest: list[str], *, with_body: bool) -> None:
            if len(rest) > 1 and rest[1] not in (hub.commit, "main"):
                self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"", with_body=with_body)
                return
            files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
            content: object = {"id": name, "sha": hub.commit, "siblings": [{"rfilename": file} for file in files]}
            if rest[0] == "tree":
                content = [
                    {"type": "file", "path": file, "size": (folder / file).stat().st_size, "oid": _sha1(folder / file)}
                    for file in files
                ]
            headers = {"Content-Type": "application/json", "X-Repo-Commit": hub.commit}
            self._send(200, headers, json.dumps(content).encode(), with_body=with_body)

        def _file(self, path: Path, revision: str, *, with_body: bool) -> None:
            headers = {"X-Repo-Commit": hub.commit}
            if revision not in (hub.commit, "main"):
                self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"", with_body=with_body)
            elif not path.is_file():
                self._send(404, {**headers, "X-Error-Code": "EntryNotFound"}, b"", with_body=with_body)
            else:
                headers |= {"ETag": f'"{_sha1(path)}"', "Content-Type": "application/octet-stream"}
                self._send(200, headers, path.read_bytes(), with_body=with_body)

        def _send(self, status: int, headers: Mapping[str, str], body: bytes, *, with_body: bool) -> None:
            self.send_response(status)
            for header, value in headers.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _sha1(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
