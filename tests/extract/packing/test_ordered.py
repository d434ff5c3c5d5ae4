"""Work in processes that a server process forks."""

import os

import pytest

from extract.packing.ordered import map_in_processes


def test_workers_see_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):  # the server process is started once
        monkeypatch.setenv("LARE_TEST_OF_WORKERS", value)
        assert list(map_in_processes(os.getenv, ["LARE_TEST_OF_WORKERS"] * 2, 2, 1)) == [value] * 2
