"""Tiny models of every family, saved when they are first asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.families import save_family


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A family's tiny model by name, saved when it is first asked for."""
    root = tmp_path_factory.mktemp("families")
    return lambda name: root / name if (root / name).exists() else save_family(name, root / name)
