"""The script that makes `.venv`: which builds of torch it takes. What it installs is run by every fresh clone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.code_hash import ROOT


def run_setup(build: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of the script in a folder of its own, without any index."""
    (folder / "scripts").mkdir()
    for name in ("scripts/setup_env.py", "constraints.txt", "pyproject.toml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "TORCH": build}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    command = [sys.executable, "scripts/setup_env.py"]
    return subprocess.run(
        command, cwd=folder, env=environment | offline, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_build_that_is_none_is_refused(tmp_path: Path) -> None:
    done = run_setup("cuda12", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "setup: TORCH is 'cuda12', expected cpu, cuda, or the build for one CUDA, such as cu126\n"
    assert not (tmp_path / ".venv").exists()


@pytest.mark.slow
def test_a_build_for_one_cuda_is_not_replaced_by_another(tmp_path: Path) -> None:
    done = run_setup("cu126", tmp_path)
    assert done.returncode == 1
    assert "setup: https://download.pytorch.org/whl/cu126 has no torch==" in done.stderr
    assert not (tmp_path / ".venv" / ".installed").exists()
