"""The tutorial on GenImage: every block that is not marked runs as it stands, in order, on a small tree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, collect, shell_lines
from tests.docs.genimage_tree import save_genimage, save_hub_cache
from tests.docs.test_code_blocks import TUTORIAL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
NUM_TEST = 4
SOURCES = ("adm", "biggan", "sdv5")
ON_THIS_MACHINE = {"extract": "--device=cpu", "train": "--data.num_workers=0", "eval": "--data.num_workers=0"}
"""Verb of make → what a machine without a GPU, and with few cores, needs besides."""


def run_page(folder: Path, home: Path) -> str:
    """Run all commands of the page in a folder; gives what they print."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "HF_"))}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    printed = ""
    for block in collect():
        if block.page != TUTORIAL or block.language != "sh" or block.reason is not None:
            continue
        for words in shell_lines(block.code):
            done = subprocess.run(_call(words), cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            printed += done.stdout + done.stderr
    return printed


def _call(words: list[str]) -> list[str]:
    """A line of the page, by the Makefile of this checkout and the Python of the tests."""
    if words[0] == "lare":
        few = [f"{word} --data.num_workers=0" if word.startswith("--fit_args=") else word for word in words[1:]]
        return [sys.executable, "-m", "workflow", *few]
    assert words[0] == "make", words
    more = ON_THIS_MACHINE.get(words[1], "")
    given = next((word.removeprefix("ARGS=") for word in words if word.startswith("ARGS=")), "")
    others = [word for word in words[1:] if not word.startswith("ARGS=")]
    makefile = ["--no-print-directory", "-f", str(ROOT / "Makefile"), "-o", ".venv/.installed", f"PY={sys.executable}"]
    return ["make", *makefile, *others, f"ARGS={given} {more}".rstrip()]


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    save_genimage(tmp_path / "GenImage", num_test=NUM_TEST)
    printed = run_page(tmp_path, save_hub_cache(tmp_path / "hub"))
    runs = tmp_path / "runs"
    for results in ("trial/results.json", "trial/jpeg65/results.json", "trial-image/results.json"):
        content = json.loads((runs / results).read_text())
        sources = content["readings"]["detector"]["sources"]
        assert {name: (each["n_real"], each["n_generated"]) for name, each in sources.items()} == dict.fromkeys(
            SOURCES, (NUM_TEST, NUM_TEST)
        )
    readings = json.loads((runs / "readings" / "results.json").read_text())["readings"]
    assert readings.keys() == {"mean_lare", "gradient_energy"}
    for name in SOURCES:
        assert name in printed
