"""What `make test-formats` says where it cannot do its work. Where it can, it is `make check` that runs it."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "test_formats.py"


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only the folder `bin` of a home is searched for programs."""
    environment = {name: value for name, value in os.environ.items() if name != "PYENV_ROOT"}
    environment |= {"HOME": str(home), "PATH": str(home / "bin")}
    return subprocess.run([sys.executable, SCRIPT, *arguments], env=environment, capture_output=True, text=True)


def put_python(path: Path, says: str) -> None:
    """A program that answers like a Python which says its version, or like a shim without one behind it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)


def test_no_other_python_is_one_line_and_no_failure(tmp_path: Path) -> None:
    put_python(tmp_path / "bin" / "python3.13", "exit 127")  # a shim of pyenv without a version behind it
    put_python(tmp_path / ".pyenv" / "versions" / "3.12.1" / "bin" / "python3.12", "echo 3.7")
    done = run(tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith("test-formats: not run: found no Python 3.13, 3.12, 3.14 ")


def test_a_python_that_does_not_run_is_refused_by_name(tmp_path: Path) -> None:
    done = run(tmp_path, "--python", str(tmp_path / "python3.13"))
    assert done.returncode == 2
    assert f"--python {tmp_path / 'python3.13'} does not run, or has no venv module" in done.stderr
