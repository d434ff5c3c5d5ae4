"""A service as a process of its own, with what it writes."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from tests.detect.server.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]


class Process:
    """`python -m …` in a folder.

    Args:
        folder: Its working directory.
        module: What is run: `lare`, or a detector without models.
        arguments: For it.

    Attributes:
        process: It.
        log: What it has written so far.
    """

    def __init__(self, folder: Path, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        self.log = ""
        self._clients: list[httpx.Client] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line

    def find(self, pattern: str) -> str:
        """The first group of what the log says sooner or later."""
        wait_until(lambda: re.search(pattern, self.log) or self.process.poll() is not None)
        found = re.search(pattern, self.log)
        assert found, self.log
        return found.group(1)

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.find(r"Listening on (\S+),")

    def client(self) -> httpx.Client:
        """A client, once the service is ready."""
        client = httpx.Client(base_url=self.address, timeout=30, trust_env=False)
        self._clients.append(client)
        wait_until(lambda: client.get("/healthz").status_code == 200)
        return client

    def wait(self) -> int:
        """The exit status."""
        status = self.process.wait(30)
        self._reader.join()
        return status

    def close(self) -> None:
        """End it, whatever it does."""
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
