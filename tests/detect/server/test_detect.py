"""POST /v1/detect: verdicts in order, broken files among them, hostile names, and nothing that stays behind."""

import base64
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.bad_images import CASES
from tests.detect.server.conftest import Running
from tests.detect.server.fake import picture, same

NAMES = [
    "../../../etc/passwd",
    "/etc/shadow",
    "C:\\fakepath\\a.png",
    "<img src=x onerror=alert(1)>.png",
    "a\0b.png",
    "نص.png",
    "%2e%2e%2f.png",
    "",
]


def test_verdicts_come_in_the_order_of_the_files(served: Running) -> None:
    answer = served.detect(*map(picture, range(16)))
    assert answer.status_code == 200
    alone = [served.detect(picture(seed)).json()["verdicts"][0] for seed in range(16)]
    assert [same(one) for one in answer.json()["verdicts"]] == [same(one) for one in alone]
    assert {one["verdict"] for one in alone} == {"generated", "real", "unsure"}
    assert set(alone[0]) >= {"name", "verdict", "probability", "p_real", "notes", "image", "detector", "seconds"}


def test_a_broken_file_is_an_entry_with_its_error(served: Running) -> None:
    answer = served.detect(picture(1), b"no picture", picture(2))
    good, broken, other = answer.json()["verdicts"]
    assert answer.status_code == 200
    assert "verdict" in good and "verdict" in other and "verdict" not in broken
    assert "cannot identify it" in broken["error"] and broken["status"] == "unreadable"


def test_only_broken_files_are_422_with_the_same_body(served: Running) -> None:
    answer = served.detect(b"no picture", b"")
    assert answer.status_code == 422
    assert [one["error"][:15] for one in answer.json()["verdicts"]] == ["cannot identify", "empty file"]


def test_every_kind_of_bad_image_has_its_outcome(served: Running) -> None:
    names = list(CASES)
    answers = []
    for begin in range(0, len(names), 16):
        part = [CASES[name].data() for name in names[begin : begin + 16]]
        answers += served.detect(*part).json()["verdicts"]
    outcomes = {name: one.get("status", "ok") for name, one in zip(names, answers, strict=True)}
    assert outcomes == {name: case.status.name.lower() if case.status else "ok" for name, case in CASES.items()}
    assert served.healthz() == 200


def test_maps_are_added_on_request_as_one_pixel_a_cell(served: Running) -> None:
    with_map, broken = served.detect(picture(), b"", params={"maps": "true"}).json()["verdicts"]
    image = Image.open(io.BytesIO(base64.b64decode(with_map["map_png"])))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (8, 8))
    assert "map_png" not in broken
    assert "map_png" not in served.detect(picture()).json()["verdicts"][0]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_repeated_and_nothing_more(
    name: str, served: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n\r\n'
    answer = served.client.post(
        "/v1/detect",
        content=head + picture() + b"\r\n--x--\r\n",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["verdicts"][0]["name"] == name.removeprefix("C:\\fakepath\\")
    assert answer.headers["content-type"] == "application/json"
    assert list(tmp_path.iterdir()) == []


def test_long_names_are_cut(served: Running) -> None:
    assert served.detect(picture(), name="n" * 3000).json()["verdicts"][0]["name"] == "n" * 255
    assert served.detect(picture(), name="n" * 9000).status_code == 400


def test_large_uploads_never_reach_the_disk(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/there/is/no/such/folder")
    answer = served.detect(picture(side=1500), picture(side=900))
    assert answer.status_code == 200, answer.text
    assert answer.json()["verdicts"][0]["image"]["width"] == 1500


def test_an_upload_in_many_pieces_is_the_same_upload(served: Running) -> None:
    request = served.client.build_request("POST", "/v1/detect", files=[("files", ("a.png", picture(5, side=200)))])
    whole = request.read()
    answer = served.client.post(
        "/v1/detect",
        content=(whole[i : i + 997] for i in range(0, len(whole), 997)),
        headers={"content-type": request.headers["content-type"]},
    )
    assert same(answer.json()["verdicts"][0]) == same(served.detect(picture(5, side=200)).json()["verdicts"][0])


def test_facts_about_the_detector_and_the_limits(start: Callable[..., Running]) -> None:
    facts = start(max_file_bytes=1000).client.get("/v1/detector").json()
    assert facts["method"] == "classifier" and facts["false_alarm_rate"] == 0.01
    assert facts["limits"]["max_files"] == 16 and facts["limits"]["max_file_bytes"] == 1000
