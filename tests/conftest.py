"""Fixtures for every test: no network, and small packed datasets."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub when it is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch; tiny models: threads would wait longer than they compute

import signal
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from cache_schema import Dataset, write_dataset
from tests.samples import make_sample


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what is no UTF-8 in captured output: pytest-xdist cannot send it from a worker, and ends the whole run."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True, scope="session")
def heed_ctrl_c() -> None:
    """Where the tests run in the background, a shell has them ignore Ctrl-C, and what they start inherits that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def refuse_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """24 samples in two train tars of 8, one validation and one test tar of 4."""
    splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    samples = [make_sample(i, split=split) for i, split in enumerate(splits)]
    return write_dataset(tmp_path / "data", samples, {"made_by": "a test"}, max_rows=8)
