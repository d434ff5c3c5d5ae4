"""The service with a real detector and its diffusion model, both tiny."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect import Detector
from detect.server.config import ServeConfig
from detect.server.serve import load_detector
from tests.detect.conftest import Made
from tests.detect.server.conftest import running
from tests.detect.server.fake import FakeDetector
from tests.detect.server.process import Process
from tests.detect.server.waiting import wait_until


def places(made: Made) -> dict[str, Any]:
    return {"detector": str(made.folder), "model": str(made.model), "device": "cpu"}


def test_verdicts_over_http_are_those_of_the_python_api(made: Made, detector: Detector, pictures: list[bytes]) -> None:
    config = ServeConfig(**places(made), false_alarm_rate=0.2, batch_size=4)
    with running(FakeDetector(), lambda: load_detector(config)) as service:
        wait_until(lambda: service.service.models.state != "loading")
        *answers, broken = service.detect(*pictures, b"broken", params={"maps": "true"}).json()["verdicts"]
        facts = service.client.get("/v1/detector").json()
    verdicts = detector(pictures)
    for answer, verdict in zip(answers, verdicts, strict=True):
        expected = verdict.to_dict()
        assert {name: answer[name] for name in ("verdict", "notes", "image", "detector")} == {
            name: expected[name] for name in ("verdict", "notes", "image", "detector")
        }
        for name in ("probability", "p_real", "mean_lare"):
            np.testing.assert_allclose(answer[name], expected[name], atol=1e-5)
        assert answer["map_png"].startswith("iVBOR")
    assert broken["status"] == "unreadable"
    assert facts["detector"] == detector.description.identity and facts["false_alarm_rate"] == detector.rule.rate


@pytest.mark.slow
def test_lare_serve_from_the_command_to_its_end(made: Made, pictures: list[bytes], tmp_path: Path) -> None:
    flags = [f"--{name}={value}" for name, value in places(made).items()]
    service = Process(tmp_path, "workflow", "serve", *flags, "--port=0", "--log_pictures=false")
    try:
        client = service.client()
        answer = client.post("/v1/detect", files={"files": ("private.png", pictures[0])})
        assert answer.json()["verdicts"][0]["verdict"] in ("generated", "real", "unsure")
        service.process.send_signal(signal.SIGTERM)
        assert service.wait() == 0
        assert "POST /v1/detect 200" in service.log
        assert "private" not in service.log and answer.json()["verdicts"][0]["image"]["sha256"] not in service.log
        assert list(tmp_path.iterdir()) == []
    finally:
        service.close()


def test_a_rate_that_is_not_supported_is_refused_by_strict(made: Made) -> None:
    config = ServeConfig(**places(made), strict=True)
    with pytest.raises(ValueError, match="A false-alarm rate of 1"):
        load_detector(config)
