"""Who may import whom, proved in fresh interpreters."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.packed import extract, pack
from train.commands.readings import write_readings

TRAINING = ("lightning", "timm", "train.model", "train.task", "diffusers", "extract")


def loaded_after(code: str, *names: str) -> set[str]:
    """Which of the named packages are loaded once the code has run in an interpreter of its own."""
    program = f"{code}\nimport sys; print(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_cache_schema_loads_no_torch() -> None:
    assert loaded_after("import cache_schema.__main__", "torch", "webdataset", "extract", "train") == set()


@pytest.mark.parametrize(
    ("modules", "strangers"),
    [
        ("train train.__main__ train.data.datamodule train.scoring.evaluate train.task", ("diffusers", "extract")),
        ("extract extract.__main__ extract.run.pipeline extract.packing.pack", ("train", "lightning")),
        ("train.scoring.evaluate train.scoring.scores train.scoring.readings train.pictures.plots", TRAINING),
    ],
    ids=["train", "extract", "scoring and its pictures"],
)
def test_modules_do_not_load_what_they_do_not_need(modules: str, strangers: tuple[str, ...]) -> None:
    # One interpreter for all: what any of them loads is still loaded in the end.
    assert loaded_after(f"import {modules.replace(' ', ', ')}", *strangers) == set()


def test_evaluate_runs_without_a_model_and_without_lightning(tmp_path: Path) -> None:
    dataset = pack(tmp_path / "data")
    cache = extract(dataset, tmp_path / "cache")
    files = write_readings(dataset.folder, cache.folder, "test", tmp_path)
    arguments = ["train", "evaluate", f"--data={dataset.folder}", f"--cache={cache.folder}"]
    arguments += [f"--readings=mean_lare={files['mean_lare']}", f"--out={tmp_path / 'results.json'}"]
    program = f"""
import contextlib, io, sys
from train.__main__ import main
sys.argv = {arguments!r}
with contextlib.redirect_stdout(io.StringIO()):
    assert main() == 0
"""
    assert loaded_after(program, *TRAINING) == set()
    assert "mean_lare" in json.loads((tmp_path / "results.json").read_text())["readings"]


@pytest.mark.parametrize("module", ["extract.engines.watch", "extract.engines.registry", "extract.config"])
def test_engines_and_settings_load_no_torch(module: str) -> None:
    """Every task on a cluster imports its engine before its work begins, and a login node has few processors."""
    assert loaded_after(f"import {module}", "torch", "diffusers") == set()
