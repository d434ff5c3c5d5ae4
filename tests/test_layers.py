"""The contracts of who may import whom leave nothing out, and break where they should; so does what the linter bans."""

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


@pytest.mark.parametrize("package", ["extract", "train", "workflow", "demo", "experiments", "bench"])
def test_a_new_module_must_be_given_a_layer(package: str) -> None:
    contract = CONTRACTS[package]
    assert contract["containers"] == [package] and contract["exhaustive"] is True


WRONG = {
    "torch": ("cache_schema/keys.py", "import torch"),
    "unet": ("train/egre.py", "import extract.lare"),
    "trainer": ("extract/lare.py", "import lightning"),
    "packages": ("workflow/pages.py", "import demo.toy"),
    "scoring": ("train/scoring/metrics.py", "import train.data.plan"),
    "circles": ("demo/toy/crops.py", "import demo.toy.ldm"),
    "experiments": ("experiments/study/study.py", "import experiments.sources"),
}
"""Contract → a file, and a line that breaks the contract there."""


def lint(folder: Path) -> str:
    """What `lint-imports` says of the project in a folder."""
    program = "from importlinter.cli import lint_imports_command as run; run()"
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def test_an_import_that_runs_upward_or_in_a_circle_is_found(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "models"))
    shutil.copytree(ROOT / "extract" / "models", tmp_path / "extract" / "models", dirs_exist_ok=True)
    assert " 0 broken" in lint(tmp_path)
    for file, line in WRONG.values():
        with (tmp_path / file).open("a", encoding="utf-8") as source:
            source.write(f"\n{line}\n")
    said = lint(tmp_path)
    for broken in WRONG:
        assert f"{CONTRACTS[broken]['name']} BROKEN" in said


def test_the_linter_refuses_another_opener_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text('"""A module."""\n\nfrom PIL import Image\n\nImage.open("picture.jpg")\n')
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", ROOT / "pyproject.toml", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "TID251 `PIL.Image.open` is banned: cache_schema.open_image" in done.stdout
