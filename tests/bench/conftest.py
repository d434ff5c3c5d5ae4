"""Fixtures of the measurements: settings so small that a measure takes a second or two. No test looks at a time."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.config import BenchConfig
from bench.runner import Context
from tests.extract.conftest import one_thread as one_thread  # a fixture of every test here too
from tests.models import save_tiny_sd


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sd(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings of `BenchConfig`."""
    return {
        "out": tmp_path / "out" / "bench.json",
        "runs": 1,
        "ensemble_size": 2,
        "feed_images": 5,
        "feed_batch_size": 2,
        "feed_image_size": 64,
        "feed_picture_px": 96,
        "toy_model": str(tiny_model),
        "toy_images": 3,
        "toy_batch_size": 2,
        "sd15_folder": str(tiny_model),
        "sd15_images": 2,
        "sd15_batch_size": 2,
        "sd15_image_size": 64,
        "memory_tars": [1, 2],
        "memory_rows": 3,
        "map_rows": 8,
        "matmul_size": 16,
    }


@pytest.fixture
def context(settings: dict[str, Any], tmp_path: Path) -> Context:
    folder = tmp_path / "work"
    folder.mkdir()
    return Context(BenchConfig(**settings), folder)


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """The command sets up logging for a process of its own."""
    logger, level = logging.getLogger("bench"), logging.getLogger("bench").level
    yield
    logger.setLevel(level)
