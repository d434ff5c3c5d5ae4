"""Make `.venv`, under a lock, with the versions of constraints.txt. Needs Python and its standard library only.

What is installed already is left alone until constraints.txt or pyproject.toml changes.

TORCH=cpu or TORCH=cuda chooses the build of torch. By default it is cpu where no NVIDIA driver is found, if that build
can be had, and otherwise what the package index gives. TORCH=cu126 takes the build for CUDA 12.6 from torch's own
index, for drivers that are too old for the usual one.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / ".installed"
TORCH_INDEX = "https://download.pytorch.org/whl"


def pinned(package: str) -> str:
    """The line of constraints.txt for a package, "torch==…"."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line.split(";")[0].strip() for line in lines if line.startswith(f"{package}=="))


def pip(*arguments: str, check: bool = True) -> int:
    """Run the environment's pip."""
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
    return subprocess.run(command, check=check, cwd=ROOT).returncode


def install_torch(build: str) -> None:
    """Install torch and torchvision in the chosen build.

    Raises:
        SystemExit: If a build for one CUDA is asked for, and there is none.
    """
    packages = [pinned("torch"), pinned("torchvision")]
    if build != "cuda" and (build != "cpu" or platform.system() == "Linux"):
        sys.stderr.write(f"setup: looking for the {build} build of torch\n")
        local = [f"{package}+{build}" for package in packages]
        index = f"{TORCH_INDEX}/{build}"
        if pip("--retries=0", "--timeout=15", "--extra-index-url", index, *local, check=False) == 0:
            return
        if build != "cpu":
            raise SystemExit(f"setup: {index} has no {' and no '.join(packages)}: choose another TORCH")
        sys.stderr.write(
            "setup: no CPU build to be had here; taking the index's default, which runs on a CPU as well\n"
        )
    pip(*packages)


def hash_requirements() -> str:
    """What the stamp says of an environment that has all that is asked for."""
    files = (ROOT / name for name in ("constraints.txt", "pyproject.toml"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def main() -> None:
    """Install everything, unless the stamp says that it was done."""
    if sys.version_info < (3, 11):
        raise SystemExit(f"setup: Python 3.11 or newer is needed, this is {platform.python_version()}")
    build = os.environ.get("TORCH") or ("cuda" if shutil.which("nvidia-smi") else "cpu")
    if not re.fullmatch(r"cpu|cuda|cu\d{3}", build):
        raise SystemExit(f"setup: TORCH is {build!r}, expected cpu, cuda, or the build for one CUDA, such as cu126")
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hash_requirements()
        if STAMP.is_file() and STAMP.read_text() == wanted:
            STAMP.touch()
            return
        sys.stderr.write("setup: installing into .venv, a few minutes\n")
        venv.create(ENVIRONMENT, with_pip=True, clear=False)
        install_torch(build)
        pip("--constraint", "constraints.txt", "--editable", ".[demo,bench,formats,marks,serve,docs,dev]")
        STAMP.write_text(wanted)


if __name__ == "__main__":
    main()
