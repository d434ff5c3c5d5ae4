"""Who may import whom, proved in fresh interpreters."""

import subprocess
import sys

import pytest


def loaded_after(code: str, *names: str) -> set[str]:
    """Which of the named packages are loaded once the code has run in an interpreter of its own."""
    program = f"{code}\nimport sys; print(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_cache_schema_loads_no_torch() -> None:
    assert loaded_after("import cache_schema.__main__", "torch", "webdataset", "extract", "train") == set()


@pytest.mark.parametrize(
    "module", ["train", "train.__main__", "train.data.datamodule", "train.scoring.evaluate", "train.task"]
)
def test_train_loads_neither_diffusers_nor_extract(module: str) -> None:
    assert loaded_after(f"import {module}", "diffusers", "extract") == set()


@pytest.mark.parametrize("module", ["extract", "extract.__main__", "extract.run.pipeline", "extract.packing.pack"])
def test_extract_never_loads_train(module: str) -> None:
    assert loaded_after(f"import {module}", "train", "lightning") == set()
