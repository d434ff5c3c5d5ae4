"""A service as a process: how it begins, and how Ctrl-C and SIGTERM end it."""

import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from detect.server.batches import ModelThread
from tests.detect.server.fake import picture
from tests.detect.server.process import Process
from tests.detect.server.waiting import wait_until


def ask(client: httpx.Client, seed: int = 0) -> httpx.Response:
    return client.post("/v1/detect", files=[("files", ("a.png", picture(seed)))])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_once_the_work_in_hand_is_answered(
    number: signal.Signals, run: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "gate").touch()
    service = run()
    client = service.client()
    with ThreadPoolExecutor(3) as pool:
        in_hand = [pool.submit(ask, client, seed) for seed in range(3)]
        wait_until(lambda: "lare_queue_pictures 3.0" in client.get("/metrics").text)
        service.process.send_signal(number)
        service.find("(Ending)")
        late = ask(client)
        assert late.status_code == 503 and late.json() == {"error": "The service is shutting down."}
        assert client.get("/healthz").status_code == 503
        assert service.process.poll() is None
        (tmp_path / "gate").unlink()
        assert [job.result().status_code for job in in_hand] == [200, 200, 200]
    assert service.wait() == 0
    assert "Traceback" not in service.log and "error" not in service.log


def test_an_idle_service_ends_at_once_though_connections_are_open(run: Callable[..., Process]) -> None:
    service = run()
    client = service.client()
    port = client.base_url.port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /v1/detect HTTP/1.1\r\nHost: loc")
        service.process.send_signal(signal.SIGTERM)
        assert service.wait() == 0


def test_a_second_ctrl_c_gives_up_what_is_in_hand(run: Callable[..., Process], tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    service = run()
    client = service.client()
    with ThreadPoolExecutor(1) as pool:
        in_hand = pool.submit(ask, client)
        wait_until(lambda: "lare_queue_pictures 1.0" in client.get("/metrics").text)
        service.process.send_signal(signal.SIGINT)
        service.find("(Ending)")
        service.process.send_signal(signal.SIGINT)
        assert in_hand.result().status_code == 503
    assert service.wait() == 130
    assert "Traceback" not in service.log


def test_a_signal_ends_a_service_that_still_loads(run: Callable[..., Process]) -> None:
    service = run('detector="slow"')
    service.find("(Listening)")
    service.process.send_signal(signal.SIGTERM)
    assert service.wait() == 0


def test_a_detector_that_cannot_be_loaded_ends_the_service_with_one_sentence(run: Callable[..., Process]) -> None:
    service = run('detector="nowhere"')
    assert service.wait() == 1
    assert service.log.splitlines()[-1] == "error: nowhere/detector.json: no such file or directory"
    assert "Traceback" not in service.log


def test_a_port_in_use_is_one_sentence(run: Callable[..., Process]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = run(f"port={port}")
        assert service.wait() == 1
    assert f"error: host is 127.0.0.1, port {port}: cannot listen there, address already in use" in service.log


def test_listening_to_the_network_is_warned_about(run: Callable[..., Process]) -> None:
    service = run('host="0.0.0.0"')
    assert "other machines" in service.find("(Listening on 0.0.0.0: .*)")
    port = service.find(r"http://0\.0\.0\.0:(\d+)")
    assert httpx.get(f"http://127.0.0.1:{port}/healthz", headers={"host": "foreign.example"}).status_code == 400
    service.process.send_signal(signal.SIGINT)
    assert service.wait() == 0


def test_a_local_service_warns_of_nothing(run: Callable[..., Process]) -> None:
    service = run()
    service.client()
    service.process.send_signal(signal.SIGINT)
    assert service.wait() == 0
    assert "other machines" not in service.log


def test_jobs_that_nobody_waits_for_do_not_reach_the_models() -> None:
    from detect import Picture
    from detect.server.batches import Job
    from tests.detect.server.fake import FakeDetector

    detector, ended = FakeDetector(), []
    jobs = [Job(Picture.of(picture(seed)), lambda: ended.append(1)) for seed in range(3)]
    models = ModelThread(lambda: detector)
    for job in jobs:
        assert job.picture is not None
        job.prepared = detector.prepare(job.picture)
        models.submit(job)
    jobs[1].abandon()
    models.start()
    assert jobs[0].answer.result(30).verdict is not None and jobs[2].answer.result(30).verdict is not None
    models.stop(30)
    assert detector.batches == [2] and len(ended) == 3 and jobs[1].answer.cancelled()
