"""What a service tells others: security headers, numbers, logs; of a picture nothing but hash, sides and verdict."""

import logging
import re
import time
from collections.abc import Callable

import pytest

from tests.detect.server.conftest import Running
from tests.detect.server.fake import picture

PAGES = ["/", "/docs", "/static/page.js", "/static/page.css", "/static/docs.js"]


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json", "/metrics", "/healthz", "/nowhere"])
def test_every_answer_carries_the_security_headers(path: str, served: Running) -> None:
    headers = served.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers
    assert [name for name in headers if name.startswith("access-control")] == []


@pytest.mark.parametrize("path", PAGES)
def test_pages_name_no_other_host_and_hold_no_script(path: str, served: Running) -> None:
    answer = served.client.get(path)
    assert answer.status_code == 200
    assert re.findall(r"""(?:src|href|url|action)\s*[=(]\s*["']?\s*(?:https?:)?//""", answer.text) == []
    assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "") and "https://" not in answer.text
    if path in ("/", "/docs"):
        assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=", answer.text) == []
        for address in re.findall(r'(?:src|href)="([^"#]+)"', answer.text):
            assert served.client.get(address).status_code == 200, address


def test_the_api_is_described_without_another_host(served: Running) -> None:
    schema = served.client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/v1/detect", "/v1/detector", "/healthz", "/metrics"}
    form = schema["paths"]["/v1/detect"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["files"]["maxItems"] == 16
    assert set(schema["paths"]["/v1/detect"]["post"]["responses"]) >= {"200", "413", "415", "422", "503", "504"}


def test_numbers_are_those_of_the_requests(served: Running) -> None:
    served.detect(picture(1), picture(2), b"")
    served.detect(b"")
    served.client.get("/<script>")
    text = served.client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['lare_requests_total{path="/v1/detect",status="200"}'] == "1.0"
    assert lines['lare_requests_total{path="/v1/detect",status="422"}'] == "1.0"
    assert lines['lare_requests_total{path="another path",status="404"}'] == "1.0"
    verdicts = {name: float(value) for name, value in lines.items() if name.startswith("lare_pictures_total")}
    assert verdicts['lare_pictures_total{verdict="error"}'] == 2 and sum(verdicts.values()) == 4
    assert lines["lare_queue_pictures"] == "0.0"
    assert lines["lare_batch_pictures_sum"] == "2.0" and lines["lare_detect_seconds_count"] == "2.0"
    assert "python_info" not in text


@pytest.mark.parametrize("is_on", [True, False])
def test_logs_hold_hash_sides_and_verdict_at_most(
    is_on: bool, start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    running = start(log_pictures=is_on)
    answer = running.detect(picture(3), b"SECRETBYTES", name="secret-name.png", params={"maps": "true"})
    running.client.get("/secret-path?secret=query")
    verdict = answer.json()["verdicts"][0]
    deadline = time.monotonic() + 30
    own = ""
    while "GET another path" not in own and time.monotonic() < deadline:  # it is logged after the answer has gone
        records = [record for record in caplog.records if record.name.startswith(("detect", "uvicorn"))]
        own = "\n".join(record.getMessage() for record in records)
    line = f"picture {verdict['image']['sha256']}, 24 x 24 px: {verdict['verdict']}"
    assert (line in own) is is_on and ("picture: no verdict, unreadable" in own) is is_on
    assert "POST /v1/detect 200" in own and "GET another path 404" in own
    assert not re.search("secret", own, re.IGNORECASE)
