"""Requests that are refused: each with its status and one sentence, before more is read than is allowed."""

import json
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.detect.server.conftest import Running
from tests.detect.server.fake import FakeDetector, picture
from tests.detect.server.waiting import wait_until

FORM = {"content-type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
END = b"\r\n--x--\r\n"


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and sentence of a refusal, the whole body of which is {"error": sentence}."""
    body = answer.json()
    assert list(body) == ["error"]
    assert body["error"].endswith(".") and len(body["error"].split()) <= 25
    return answer.status_code, body["error"]


def connect(running: Running, head: str, body: bytes = b"") -> socket.socket:
    """A connection with a request that no proper client would send."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    lines = ["POST /v1/detect HTTP/1.1", "Host: localhost", f"Content-Type: {FORM['content-type']}", head, "", ""]
    connection.sendall("\r\n".join(lines).encode() + body)
    return connection


def raw(running: Running, head: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    """Status and JSON of the answer to such a request."""
    answer = b""
    with connect(running, head, body) as connection:
        while b"}" not in answer:
            piece = connection.recv(65536)
            assert piece, answer
            answer += piece
    text = answer.decode()
    return int(text.split()[1]), json.JSONDecoder().raw_decode(text, text.index("{"))[0]


@pytest.mark.parametrize(
    ("body", "headers", "status", "sentence"),
    [
        (b"", {}, 415, "no form with files"),
        (b"{}", {"content-type": "application/json"}, 415, "no form with files"),
        (b"files=1", {"content-type": "application/x-www-form-urlencoded"}, 415, "no form with files"),
        (b"x", {"content-type": "multipart/form-data"}, 400, "names no boundary"),
        (b"x", {"content-type": "multipart/form-data; boundary=" + "x" * 5000}, 400, "is broken"),
        (b"", FORM, 400, "cut short"),
        (b"no part at all", FORM, 400, "is broken"),
        (PART + picture(), FORM, 400, "cut short"),
        (PART[:20], FORM, 400, "cut short"),
        (b"--x--\r\n", FORM, 422, "no picture in the request"),
        (PART.replace(b"files", b"file") + picture() + END, FORM, 422, "another field"),
        (b"--x\r\n\r\n" + picture() + END, FORM, 422, "another field"),
        (b"--x\r\nA: " + b"a" * 20_000 + b"\r\n\r\n" + END, FORM, 400, "is broken"),
        (b"--x\r\n" + 2 * (b"A: " + b"b" * 3000 + b"\r\n") + b"\r\n" + END, FORM, 400, "too long"),
    ],
    ids=lambda value: None,
)
def test_bodies_that_are_no_pictures(
    body: bytes, headers: dict[str, str], status: int, sentence: str, served: Running
) -> None:
    given, words = refusal(served.client.post("/v1/detect", content=body, headers=headers))
    assert given == status and sentence in words
    assert served.detector.num_prepared == 0


def test_seventeen_files(served: Running) -> None:
    assert refusal(served.detect(*[picture()] * 17)) == (
        413,
        "The request has more than 16 pictures: send fewer at a time.",
    )
    assert served.detector.num_prepared == 0


def test_a_file_or_a_request_above_its_limit(start: Callable[..., Running]) -> None:
    running = start(max_file_bytes=5000, max_request_bytes=9000)
    assert refusal(running.detect(bytes(5001))) == (413, "A picture is larger than 5000 bytes.")
    assert refusal(running.detect(bytes(4500), bytes(4500)))[0] == 413
    assert running.detect(picture(), bytes(5000)).status_code == 200


def test_a_request_that_says_it_is_too_large_is_not_read(start: Callable[..., Running]) -> None:
    running = start(max_file_bytes=5000, max_request_bytes=9000)
    status, body = raw(running, "Content-Length: 9001")  # and not one byte of it
    assert status == 413 and "larger than 9000 bytes" in body["error"]


def test_a_request_that_does_not_say_its_size_ends_at_the_limit(start: Callable[..., Running]) -> None:
    running = start(max_file_bytes=5000, max_request_bytes=9000)

    def endless() -> Iterator[bytes]:
        yield PART
        for _ in range(100):
            yield bytes(1000)

    assert refusal(running.client.post("/v1/detect", content=endless(), headers=FORM))[0] == 413
    assert running.service.budget.held == 0


def test_a_length_that_is_too_small_cuts_the_body(served: Running) -> None:
    assert raw(served, "Content-Length: 40", PART + picture() + END)[0] == 400


def test_a_length_that_is_too_large_ends_at_the_time_limit(start: Callable[..., Running]) -> None:
    running = start(time_limit=0.3)
    status, body = raw(running, "Content-Length: 100000", PART + picture() + END)
    assert (status, body) == (504, {"error": "The time limit of 0.3 seconds has passed."})
    assert running.service.budget.held == 0 and running.service.is_idle


def test_connections_that_are_cut_leave_nothing_behind(served: Running) -> None:
    for _ in range(5):
        connect(served, "Content-Length: 100000", PART + picture()).close()
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\n")
    wait_until(lambda: served.service.is_idle and served.service.num_pictures == 0)
    assert served.service.budget.held == 0 and served.detector.num_prepared == 0
    assert served.detect(picture()).status_code == 200


def test_a_client_that_leaves_gives_its_places_back(start: Callable[..., Running]) -> None:
    running = start(FakeDetector(batch_size=1), queue_size=16)
    running.detector.gate.clear()
    for seed in range(8):
        with pytest.raises(httpx.ReadTimeout):
            running.detect(picture(seed), picture(seed + 100), timeout=0.1)
    wait_until(lambda: running.service.is_idle)
    running.detector.gate.set()
    wait_until(lambda: running.service.num_pictures == 0)
    assert running.service.budget.held == 0
    assert len(running.detector.batches) < 16  # most were given up before the models saw them


def test_http_that_is_none(served: Running) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert served.healthz() == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/detect", 405),
        ("POST", "/healthz", 405),
        ("GET", "/favicon.ico", 404),
        ("GET", "/static/../serve.py", 404),
        ("GET", "/static/%2e%2e/serve.py", 404),
        ("GET", "/static/..%2fserve.py", 404),
        ("GET", "/docs/assets/../../fastapi_offline/core.py", 404),
    ],
)
def test_addresses_that_are_not_there(method: str, path: str, status: int, served: Running) -> None:
    assert refusal(served.client.request(method, path))[0] == status


def test_a_wrong_method_is_told_the_right_one(served: Running) -> None:
    assert served.client.get("/v1/detect").headers["allow"] == "POST"


def test_a_wrong_parameter(served: Running) -> None:
    assert refusal(served.detect(picture(), params={"maps": "perhaps"}))[0] == 400


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8000", "", "127.0.0.1.evil.example", "[::2]"])
def test_foreign_host_headers(host: str, served: Running) -> None:
    status, words = refusal(served.client.get("/", headers={"host": host}))
    assert status == 400 and "allowed_hosts" in words


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"])
def test_own_host_headers(host: str, served: Running) -> None:
    assert served.client.get("/healthz", headers={"host": host}).status_code == 200


def test_names_of_a_proxy_are_allowed_on_request(start: Callable[..., Running]) -> None:
    client = start(allowed_hosts=["pictures.example"]).client
    assert client.get("/healthz", headers={"host": "pictures.example"}).status_code == 200
    assert client.get("/healthz").status_code == 400


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_other_web_sites_cannot_send_pictures(origin: str, served: Running) -> None:
    answer = served.detect(picture(), headers={"origin": origin})
    assert refusal(answer) == (403, "The request comes from another web site.")
    assert "access-control-allow-origin" not in answer.headers
    assert served.detect(picture(), headers={"origin": f"http://localhost:{served.port}"}).status_code == 200
