"""`lare serve` with a detector that has no models, as a process; its arguments are settings, `name=JSON`.

A file `gate` in the working directory holds verdicts back; its absence lets them pass.
"""

import json
import logging
import sys
import time
from pathlib import Path

from cache_schema.program import run_as_process, run_program
from detect.server.config import ServeConfig
from detect.server.serve import serve
from tests.detect.server.fake import FakeDetector


class Gate:
    """Waits while the file is there."""

    def set(self) -> None:
        """Nothing: the test makes the file and removes it."""

    def wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while Path("gate").exists() and time.monotonic() < deadline:
            time.sleep(0.01)


def load(config: ServeConfig) -> FakeDetector:
    if config.detector == "nowhere":
        raise FileNotFoundError(2, "No such file or directory", "nowhere/detector.json")
    if config.detector == "slow":
        time.sleep(60)
    return FakeDetector(gate=Gate())  # type: ignore[arg-type]


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = {"detector": "a folder", "port": 0} | {
        name: json.loads(value) for name, value in (argument.split("=", 1) for argument in sys.argv[1:])
    }

    return run_program(lambda: serve(ServeConfig(**settings), load))


if __name__ == "__main__":
    run_as_process(main)
