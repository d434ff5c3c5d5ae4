"""Every command says what it does in one line, wherever commands are listed."""

import subprocess
import sys

import pytest

from experiments.__main__ import COMMANDS as EXPERIMENTS
from experiments.questions import SUMMARIES
from extract.__main__ import COMMANDS as EXTRACT
from workflow.cli.help import show_verbs
from workflow.cli.verbs import VERBS, load_questions
from workflow.code_hash import ROOT

PROGRAMS = {
    "experiments": (*EXPERIMENTS,),
    "extract": (*EXTRACT,),
    "demo": ("run", "images", "report", "verdicts"),
    "detect": ("run", "calibrate", "serve"),
}


@pytest.mark.parametrize("load", [lambda: VERBS, load_questions], ids=["lare", "lare question"])
def test_each_verb_has_one_line(load: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    verbs = load()  # type: ignore[operator]
    lines = show_verbs(verbs).splitlines()[2:-2]
    assert [line.split()[0] for line in lines] == [*verbs]
    assert all(line.rstrip().endswith((".", "?")) for line in lines)


def test_each_command_of_a_study_has_a_summary() -> None:
    assert set(SUMMARIES) == set(EXPERIMENTS) == set(load_questions())


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_programs_help_describes_its_commands(program: str) -> None:
    call = [sys.executable, "-m", program, "--help"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    described = {
        line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and len(line.split()) > 2
    }
    assert described >= set(PROGRAMS[program])
