"""The wheel in an environment of its own: `lare` works from any folder, and finds its packaged settings by name."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.models import save_tiny_sd
from tests.samples import encode_png
from workflow.code_hash import ROOT

pytestmark = pytest.mark.slow
LEFT_OUT = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__")
Lare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with the libraries of this one but not its packages."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    built = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, folder / "source"]
    subprocess.run([*pip, *map(str, built)], check=True)
    shutil.rmtree(folder / "source")
    venv.create(folder / "env", with_pip=False)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    # A folder that a .pth file names is searched, but its own .pth files, such as that of this checkout, are not read.
    (packages / "libraries.pth").write_text(f"{Path(np.__file__).parents[1]}\n")
    (wheel,) = folder.glob("lare2_cache-*.whl")
    python = str(folder / "env" / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    return folder / "env"


@pytest.fixture
def lare(environment: Path, tmp_path: Path) -> Lare:
    """Runs the installed command in a folder that is no checkout."""
    place = tmp_path / "my place"
    place.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin" / "lare"), *args]
        return subprocess.run(command, cwd=place, env=clean, capture_output=True, text=True, check=False)

    return call


def test_only_what_is_used_without_a_checkout_is_installed(environment: Path) -> None:
    (packages,) = (environment / "lib").glob("python*/site-packages")
    ours = {path.name for path in packages.iterdir() if path.is_dir() and "." not in path.name}
    assert ours - {"__pycache__"} == {"cache_schema", "extract", "train", "detect", "workflow", "demo"}
    assert (packages / "demo" / "models" / "toy-a" / "model_index.json").is_file()
    templates = list((ROOT / "workflow" / "templates").iterdir()) + list((ROOT / "demo" / "templates").iterdir())
    page = list((ROOT / "detect" / "server" / "static").iterdir())
    assert templates and page and all((packages / path.relative_to(ROOT)).is_file() for path in templates + page)
    assert list(packages.glob("demo/**/*.csv")) and list(packages.glob("demo/configs/*.yaml"))


def save_photos(place: Path) -> None:
    rng = np.random.default_rng(0)
    for source in ("real", "toy"):
        (place / "my photos" / source).mkdir(parents=True)
        for n in range(4):
            pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            (place / "my photos" / source / f"{n}.png").write_bytes(encode_png(pixels))


def test_packing_extraction_and_status_with_packaged_settings(lare: Lare, tmp_path: Path) -> None:
    place = tmp_path / "my place"
    save_photos(place)
    save_tiny_sd(place / "model")
    assert "extract" in lare("--help").stdout and "--detector" in lare("detect", "--help").stdout
    pack = lare("pack", "--src", "my photos", "--out", "my data", "--num_workers", "1")
    assert pack.returncode == 0, pack.stderr
    settings = ["--image_size=64", "--ensemble_size=1", "--compute_dtype=fp32", "--num_workers=0", "--device=cpu"]
    places = ["--data", "my data", "--cache", "my cache"]
    extract = lare("extract", *settings, *places, "--model", "model", "--revision", "null", "--config", "sd15")
    assert extract.returncode == 0, extract.stderr
    status = lare("status", *places, "--json")
    assert status.returncode == 0, status.stderr
    assert '"done"' in status.stdout


def test_nothing_is_imported_from_the_folder_that_it_is_called_in(lare: Lare, tmp_path: Path) -> None:
    place, marker = tmp_path / "my place", tmp_path / "marker"
    save_photos(place)
    save_tiny_sd(place / "model")
    hostile = f"open({str(marker)!r}, 'a').write(__file__ + '\\n')\nraise ImportError(__file__)\n"
    for name in ("multiprocessing", "json", "random", "selectors", "torch", "numpy", "extract", "cache_schema"):
        (place / f"{name}.py").write_text(hostile)
    pack = lare("pack", "--src", "my photos", "--out", "data", "--num_workers", "2")  # begins workers
    settings = ["--config=sd15", "--image_size=64", "--ensemble_size=1", "--compute_dtype=fp32", "--device=cpu"]
    places = ["--data=data", "--cache=cache", "--model=model", "--revision=null", "--num_workers=1"]
    launch = lare("launch", *settings, *places, "--engine=local")  # begins `python -m extract`
    assert not marker.exists(), marker.read_text()
    assert (pack.returncode, launch.returncode) == (0, 0), pack.stderr + launch.stderr


def test_settings_of_a_fit_come_by_name(lare: Lare) -> None:
    fit = lare("fit", "--data", "d", "--cache", "c", "--print_config", "--config", "lare2_paper", "--seed", "3")
    assert fit.returncode == 0, fit.stderr
    assert "seed_everything: 3" in fit.stdout and "schedule: plateau" in fit.stdout


def test_what_needs_a_checkout_says_so(lare: Lare) -> None:
    for args in (["bench"], ["question"], ["question", "egre", "--help"]):
        done = lare(*args)
        assert done.returncode == 2
        assert "checkout" in done.stderr and len(done.stderr.splitlines()) == 1
