"""The contracts of who may import whom leave nothing out, and break where they should."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIG: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in CONFIG["contracts"]}
PACKAGES = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}


def layered(contract: dict[str, Any]) -> set[str]:
    """All modules of the contract's layers, optional ones too."""
    return {module.strip(" ()") for layer in contract["layers"] for module in layer.split("|")}


def test_every_package_has_its_layer() -> None:
    assert set(CONFIG["root_packages"]) == PACKAGES
    assert layered(CONTRACTS["packages"]) >= PACKAGES
    assert "extract | train" in CONTRACTS["packages"]["layers"]  # beside each other: neither may import the other
    assert CONTRACTS["circles"]["ancestors"] == CONFIG["root_packages"]


def test_torch_stays_out_of_what_is_stored_and_each_stage_out_of_the_other() -> None:
    assert CONTRACTS["torch"]["source_modules"] == ["cache_schema"]
    assert {"torch", "webdataset"} <= set(CONTRACTS["torch"]["forbidden_modules"])
    assert {"extract", "diffusers"} <= set(CONTRACTS["unet"]["forbidden_modules"])
    assert {"train", "lightning"} <= set(CONTRACTS["trainer"]["forbidden_modules"])
    assert {"lightning", "timm", "train.model"} <= set(CONTRACTS["scoring"]["forbidden_modules"])


@pytest.mark.parametrize("package", ["extract", "train", "demo", "experiments", "bench"])
def test_a_new_module_must_be_given_a_layer(package: str) -> None:
    contract = CONTRACTS[package]
    assert contract["containers"] == [package] and contract["exhaustive"] is True


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's packages and settings, to be spoiled."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    return folder


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("cache_schema/keys.py", "import torch", "torch"),
        ("train/egre.py", "import extract.lare", "unet"),
        ("extract/lare.py", "import train.egre", "trainer"),
        ("workflow/pages.py", "import demo.toy", "packages"),
        ("train/scoring/metrics.py", "import train.data.plan", "scoring"),
        ("demo/toy/crops.py", "import demo.toy.ldm", "circles"),
        ("experiments/study/study.py", "import experiments.sources", "experiments"),
    ],
)
def test_an_import_that_runs_upward_or_in_a_circle_is_found(file: str, line: str, broken: str, copy: Path) -> None:
    program = "from importlinter.cli import lint_imports_command as run; run()"
    command = [sys.executable, "-c", program, "--no-cache", "--contract", broken]
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200"}
    source = (copy / file).read_text(encoding="utf-8")
    statuses = []
    for text in (source, f"{source}\n{line}\n", source):
        (copy / file).write_text(text, encoding="utf-8")
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        statuses.append(done.returncode)
    assert statuses == [0, 1, 0], done.stdout
