"""Many requests at once: they share batches, wait in a bounded queue, and never hang."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from detect import Answer, Picture
from detect.server import large
from tests.bad_images import encode, quadrants
from tests.detect.server.conftest import Running
from tests.detect.server.fake import FakeDetector, Prepared, picture, same
from tests.detect.server.test_refusals import FORM, PART, raw, refusal
from tests.detect.server.waiting import wait_until


def test_requests_that_arrive_together_share_a_batch(start: Callable[..., Running]) -> None:
    running = start(FakeDetector(batch_size=4))
    alone = [same(running.detect(picture(seed)).json()["verdicts"][0]) for seed in range(9)]
    running.detector.batches.clear()
    running.detector.gate.clear()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(running.detect, picture(0))
        wait_until(lambda: running.detector.batches == [1])
        others = [pool.submit(running.detect, picture(seed)) for seed in range(1, 9)]
        wait_until(lambda: running.service.models._queue.qsize() == 8)
        running.detector.gate.set()
        answers = [same(job.result().json()["verdicts"][0]) for job in (first, *others)]
    assert answers == alone
    assert running.detector.batches == [1, 4, 4]


def test_a_full_queue_is_503_and_says_when_to_try_again(start: Callable[..., Running]) -> None:
    running = start(queue_size=16)
    running.detector.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(running.detect, *map(picture, range(10)))
        wait_until(lambda: running.service.num_pictures == 10)
        answer = running.detect(*map(picture, range(7)))  # six have room
        assert refusal(answer)[0] == 503 and answer.headers["retry-after"] == "1"
        rest = ThreadPoolExecutor(1).submit(running.detect, *map(picture, range(6)))
        wait_until(lambda: running.service.num_pictures == 16)
        assert raw(running, "Content-Length: 1000")[0] == 503  # without reading the body
        running.detector.gate.set()
        assert first.result().status_code == rest.result().status_code == 200
    assert running.detect(*map(picture, range(16))).status_code == 200


def test_bytes_of_all_requests_are_bounded(start: Callable[..., Running]) -> None:
    running = start(max_file_bytes=60_000, max_request_bytes=60_000, max_bytes_in_flight=100_000, time_limit=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(raw, running, "Content-Length: 60000", PART)
        wait_until(lambda: running.service.budget.held == 60_000)
        answer = running.client.post("/v1/detect", content=PART + bytes(50_000), headers=FORM)
        assert refusal(answer)[0] == 503 and "retry-after" in answer.headers
        assert slow.result()[0] == 504
    assert running.service.budget.held == 0


def test_the_time_limit_is_504_and_frees_the_place(start: Callable[..., Running]) -> None:
    running = start(FakeDetector(batch_size=1), time_limit=2)
    running.detector.gate.clear()
    assert refusal(running.detect(picture(1), picture(2))) == (504, "The time limit of 2 seconds has passed.")
    running.detector.gate.set()
    wait_until(lambda: running.service.num_pictures == 0)
    assert running.detector.batches == [1]  # the second was given up
    assert running.detect(picture(1)).status_code == 200


def test_models_that_fail_answer_500_for_ever_and_never_hang(start: Callable[..., Running]) -> None:
    running = start(FakeDetector(batch_size=2))
    running.detector.gate.clear()
    running.detector.error = RuntimeError("no memory on the device")
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(running.detect, picture(seed)) for seed in range(6)]
        wait_until(lambda: running.service.num_pictures == 6)
        running.detector.gate.set()
        answers = [refusal(job.result()) for job in jobs]
    assert {status for status, _ in answers} == {500} and "has failed" in answers[0][1]
    assert refusal(running.detect(picture()))[0] == 500
    assert refusal(running.client.get("/healthz"))[0] == 503
    assert running.service.num_pictures == 0


def test_a_detector_that_forgets_a_picture_is_a_failure(start: Callable[..., Running]) -> None:
    class Forgetful(FakeDetector):
        def judge(self, prepared):  # type: ignore[no-untyped-def]
            return super().judge(prepared)[1:]

    assert refusal(start(Forgetful()).detect(picture()))[0] == 500


def test_an_error_in_preparation_is_the_request_s_alone(start: Callable[..., Running]) -> None:
    class Picky(FakeDetector):
        def prepare(self, picture):  # type: ignore[no-untyped-def]
            if picture.name == "bug":
                raise KeyError("a bug")
            return super().prepare(picture)

    running = start(Picky())
    assert refusal(running.detect(picture(), name="bug"))[0] == 500
    assert running.detect(picture()).status_code == 200
    assert running.service.num_pictures == 0


class Watched(FakeDetector):
    """Counts how many pictures are prepared at the same time."""

    active = most = 0

    def prepare(self, picture: Picture) -> Prepared | Answer:
        self.active += 1
        self.most = max(self.most, self.active)
        time.sleep(0.02)  # others would come in meanwhile
        self.active -= 1
        return super().prepare(picture)


def test_large_pictures_are_decoded_one_at_a_time(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [*map(picture, range(6)), b"no picture"]
    usual = start(Watched(num_threads=4))
    usual.detect(*files[:6])
    monkeypatch.setattr(large, "LARGE_PIXELS", 24 * 24 - 1)
    careful = start(Watched(num_threads=4))
    answers = careful.detect(*files).json()["verdicts"]
    assert usual.detector.most > 1 and careful.detector.most == 1  # type: ignore[attr-defined]
    assert [one.get("status", "ok") for one in answers] == ["ok"] * 6 + ["unreadable"]


def test_while_the_models_load_the_service_says_so(start: Callable[..., Running]) -> None:
    loaded = threading.Event()
    detector = FakeDetector()

    def load() -> FakeDetector:
        loaded.wait(30)
        return detector

    running = start(detector, load=load)
    for answer in (running.client.get("/healthz"), running.client.get("/v1/detector"), running.detect(picture())):
        assert refusal(answer)[0] == 503 and answer.headers["retry-after"] == "1"
    assert running.client.get("/").status_code == 200
    loaded.set()
    wait_until(lambda: running.healthz() == 200)
    assert running.detect(picture()).status_code == 200


@pytest.mark.parametrize("format", ["PPM", "TGA", "ICO"])
def test_what_is_in_no_format_of_ours_is_not_opened_to_learn_its_size(format: str) -> None:
    assert not large.is_large(picture()) and large.is_large(encode(quadrants(), format))
