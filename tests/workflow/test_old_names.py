"""Commands from before `lare`, and from before modules were moved, are still there."""

import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

from workflow.code_hash import ROOT

MOVED = ("demo.tiny_vae", "demo.toy_ldm", "demo.toy_photographs", "bench.flip", "bench.scale")
PACKAGES = ("cache_schema", "extract", "train", "demo", "experiments", "bench", "workflow")


@pytest.mark.slow
@pytest.mark.parametrize("module", [*MOVED, *PACKAGES])
def test_module_commands_tell_their_flags(module: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "sage: " in done.stdout


def test_installed_commands_are_functions_that_are_there() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert set(scripts) == {"lare", "lare-extract", "lare-train", "lare-cache", "lare-demo"}
    for place in scripts.values():
        module, _, name = place.partition(":")
        assert callable(getattr(import_module(module), name))
