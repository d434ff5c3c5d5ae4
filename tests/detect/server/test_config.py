"""Settings of the service: what is refused, who may reach it, and to whom it answers."""

import subprocess
import sys
from typing import Any

import pytest

from detect.server.config import ServeConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": 70000}, "port is 70000: expected 0 … 65535"),
        ({"queue_size": 15}, "queue_size is 15: expected 16 or more"),
        ({"time_limit": 0}, "time_limit is 0: expected more than 0 seconds"),
        ({"time_limit": float("nan")}, "time_limit is nan"),
        ({"max_request_bytes": 10}, "max_request_bytes is 10: expected 52428800 or more"),
        ({"max_bytes_in_flight": 10}, "max_bytes_in_flight is 10: expected 209715200 or more"),
        ({"max_file_bytes": 0}, "max_file_bytes is 0: expected 1 or more"),
        ({"false_alarm_rate": 0.0}, "false_alarm_rate is 0.0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_threads": 0}, "num_threads is 0"),
        ({"device": "tpu"}, "device is 'tpu': expected one of auto, cpu, cuda"),
        ({"compute_dtype": "int8"}, "compute_dtype is 'int8'"),
        ({"host": ""}, "host is empty"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServeConfig(detector="a folder", **settings)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("pictures.example", False),
    ],
)
def test_addresses_of_this_machine_alone(host: str, is_local: bool) -> None:
    assert ServeConfig(detector="a folder", host=host).is_local is is_local


def test_names_that_a_request_may_be_addressed_to() -> None:
    assert ServeConfig(detector="a folder", host="Box.Example").host_names == {
        *("localhost", "127.0.0.1", "::1", "box.example")
    }
    assert ServeConfig(detector="a folder", allowed_hosts=["A.example", "[::2]"]).host_names == {"a.example", "::2"}


def test_settings_load_neither_torch_nor_the_service() -> None:
    code = "import sys, detect.server.config, detect.server.serve; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "fastapi", "uvicorn", "prometheus_client", "matplotlib"} & set(loaded)
