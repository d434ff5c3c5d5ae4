"""Read and write the stored formats with another Python and the newest libraries, where such a Python is found.

Needs Python and its standard library only. The environment, `.venv-formats`, has zarr, numcodecs, numpy, pyarrow,
Pillow and obstore in their newest versions, and no torch. In it run the tests of `cache_schema`; what each environment
wrote is read by the other. Without another Python, or without packages for it, one line says so, and the exit status is
0.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-formats"
VERSIONS = ("3.13", "3.12", "3.14")
"""Which Pythons are looked for, the first one first; the one that runs this script is left out."""
LIBRARIES = ("zarr", "numcodecs", "numpy", "pyarrow", "pillow", "obstore")
PACKAGES = (*LIBRARIES, "tqdm", "pytest", "pytest-timeout", "hypothesis")
MARKERS = "not slow and not gpu and not network and not slurm"


def say(line: str) -> None:
    """One line for whoever watches `make check`."""
    sys.stdout.write(f"test-formats: {line}\n")
    sys.stdout.flush()


def candidates(version: str) -> Iterator[Path]:
    """Where a Python of a version may be: on PATH, below pyenv's folder, or where uv keeps its own."""
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
    if shutil.which("uv"):
        found = subprocess.run(["uv", "python", "find", "--system", version], capture_output=True, text=True)
        if found.returncode == 0:
            yield Path(found.stdout.strip())


def version_of(python: Path) -> str | None:
    """Its version, "3.13", or None if it does not run or cannot make environments."""
    program = "import ensurepip, sys, venv; print(*sys.version_info[:2], sep='.')"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def find_python() -> Path | None:
    """The first Python that is of another version than this one and runs."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in VERSIONS:
        for python in candidates(version):
            if version != here and version_of(python) == version:
                return python
    return None


def install(python: Path, upgrade: bool) -> bool:
    """Make the environment, unless it is there for this Python and these packages; whether it can be used."""
    wanted = hashlib.sha256(f"{python.resolve()} {' '.join(PACKAGES)}".encode()).hexdigest()
    stamp = ENVIRONMENT / ".installed"
    if stamp.is_file() and stamp.read_text() == wanted and not upgrade:
        return True
    say(f"installing into {ENVIRONMENT.name}, a minute")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    subprocess.run([python, "-m", "venv", ENVIRONMENT], check=True)
    command = [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries=1", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        say(f"not run: pip cannot install {', '.join(PACKAGES)} for {python} ({errors[-1] if errors else done.stderr})")
        return False
    stamp.write_text(wanted)
    return True


def describe(python: Path) -> str:
    """Version of an environment's Python and of its libraries."""
    program = (
        "import sys; from importlib.metadata import version; print('Python', sys.version.split()[0], "
        f"*(f'{{name}} {{version(name)}}' for name in {LIBRARIES!r}), sep=', ')"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip().replace("Python, ", "Python ")


def run(python: Path, *arguments: str, folders: Path | None = None) -> int:
    """Run a module of this repository in an environment; its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FORMAT_FOLDERS": str(folders or "")}
    return subprocess.run([python, "-m", *arguments], cwd=ROOT, env=environment).returncode


def test(python: Path, tests: str, folders: Path) -> int:
    """Run tests of the formats in an environment, with folders that another environment wrote."""
    # Warnings that pyproject.toml lets pass are of packages that are not there, and cannot be named without them.
    options = ["-q", "-m", MARKERS, "-o", "filterwarnings=error", "-p", "no:cacheprovider"]
    return run(python, "pytest", *options, tests, folders=folders)


def main() -> int:
    """Find a Python, install, and let each environment read what the other wrote."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", type=Path, help="the other Python (the first found of 3.13, 3.12 and 3.14)")
    parser.add_argument("--upgrade", action="store_true", help="make the environment anew, with the newest versions")
    options = parser.parse_args()
    python = options.python or find_python()
    if python is None:
        say(f"not run: found no Python {', '.join(VERSIONS)} on PATH, in pyenv or in uv (or name one: --python)")
        return 0
    if version_of(python) is None:
        parser.error(f"--python {python} does not run, or has no venv module")
    if not install(python, options.upgrade):
        return 0
    here, there = Path(sys.executable), ENVIRONMENT / "bin" / "python"
    say(f"{describe(here)} and {describe(there)} read what the other wrote")
    with tempfile.TemporaryDirectory() as folder:
        of_here, of_there = Path(folder, "written-here"), Path(folder, "written-there")
        statuses = [
            run(here, "tests.cache_schema.formats", str(of_here)),
            run(there, "tests.cache_schema.formats", str(of_there)),
            test(there, "tests/cache_schema", of_here),
            test(here, "tests/cache_schema/test_formats.py", of_there),
        ]
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
