"""A cluster for all tests of this folder, which run only when they are asked for: `pytest -m slurm tests/slurm`."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, install


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slurm: starts a real SLURM cluster on this machine (make test-slurm)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect these tests unless the marker is named: they install Debian packages, as root."""
    if "slurm" in config.option.markexpr:
        return
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    if ours:
        items[:] = [item for item in items if item not in ours]
        config.hook.pytest_deselected(items=ours)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    install()
    folder = Path(tempfile.mkdtemp(prefix="lare-slurm-"))
    try:
        with Cluster(folder, cpus=3) as running:
            yield running
    finally:
        shutil.rmtree(folder)
