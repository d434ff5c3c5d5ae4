"""The Makefile: its verbs give `lare` what was set, spaces, apostrophes and all."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.cli.flags import translate
from workflow.cli.verbs import VERBS, load_questions
from workflow.code_hash import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")

DATA, CACHE, OUT = "my data", "that's a cache", "new 'folder' \"here\""
PLACES = {"DATA": DATA, "CACHE": CACHE}


ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
"""As of a shell: these tests may be run by make."""


def run_make(tmp_path: Path, verb: str, **variables: str) -> list[list[str]]:
    """Run a verb for real, with a program in place of Python that notes what it is given."""
    noted = tmp_path / "noted.jsonl"
    note = tmp_path / "note.py"
    note.write_text(f"import json, sys\nopen({str(noted)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n")
    settings = [f"{name}={value}" for name, value in {"PY": f"{sys.executable} {note}", **variables}.items()]
    command = ["make", "--no-print-directory", "-C", str(ROOT), "-o", ".venv/.installed", verb, *settings]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return [json.loads(line) for line in noted.read_text().splitlines()]


@pytest.mark.parametrize(
    ("verb", "variables", "expected"),
    [
        ("shards", {"SRC": "my photos", "OUT": OUT}, "pack --src=my photos --out=" + OUT),
        ("extract", {**PLACES, "SHARD": "0-3"}, f"extract --config=sd15 --data={DATA} --cache={CACHE} --shard=0-3"),
        ("extract", {"CONFIG": "my 'own'.yaml"}, "extract --config=my 'own'.yaml"),
        ("launch", {"SHARD": "1", "ENGINE": "local"}, "launch --config=sd15 --engine=local --shard=1"),
        ("launch", {"SHARDS": "2,3"}, "launch --config=sd15 --shard=2,3"),
        ("noise-study", {"OUT": OUT, "MODEL": "a b"}, f"noise-study --model=a b --out={OUT}"),
        ("status", PLACES, f"status --data={DATA} --cache={CACHE}"),
        ("status", {**PLACES, "WATCH": "1"}, f"watch --data={DATA} --cache={CACHE}"),
        ("verify", {**PLACES, "ARGS": "--deep"}, f"verify --data={DATA} --cache={CACHE} --deep"),
        ("train", {**PLACES, "OUT": OUT}, f"fit --config=lare2 --data={DATA} --cache={CACHE} --out={OUT}"),
        ("train", {"CACHE": "[a,b]", "ARGS": "--seed 1"}, "fit --config=lare2 --cache=[a,b] --seed=1"),
        ("demo", {"OUT": OUT}, f"demo --out={OUT}"),
        ("bench", {"OUT": OUT, "DEVICE": "cuda"}, f"bench --out={OUT} --device=cuda"),
        ("report", {"DATA": DATA}, f"question report --data={DATA}"),
        ("serve", {"DETECTOR": "my detector", "MODEL": "a b"}, "serve --detector=my detector --model=a b"),
        ("serve", {"DETECTOR": "d", "ARGS": "--port 9000"}, "serve --detector=d --port=9000"),
        ("caches", {"CACHE": CACHE}, f"question caches --config=toy-quick --cache={CACHE}"),
        ("ablate", {"PRESET": "full", "OUT": OUT}, f"question ablate --config=toy-full --out={OUT}"),
        ("toy-benchmark", {"PHOTOS": "my photos"}, "question toy-benchmark --photos=my photos"),
    ],
)
def test_variables_reach_the_command_as_they_are(
    verb: str, variables: dict[str, str], expected: str, tmp_path: Path
) -> None:
    (found,) = run_make(tmp_path, verb, **variables)
    assert found[:2] == ["-m", "workflow"]
    name, *flags = expected.split(" --")
    words = name.split() + [word for flag in flags for word in f"--{flag}".split("=", 1)]
    assert found[2:] == words
    if "CONFIG" not in variables:  # the verb knows all of these flags
        question = found[2] == "question"
        translate(load_questions()[found[3]] if question else VERBS[found[2]], found[4 if question else 3 :])


def test_a_picture_is_a_word(tmp_path: Path) -> None:
    (found,) = run_make(tmp_path, "detect", IMG="it's my photo.jpg", DETECTOR="my detector", MODEL="a b", OUT=OUT)
    assert found[:4] == ["-m", "workflow", "detect", "it's my photo.jpg"]
    assert found[4:] == ["--detector", "my detector", "--model", "a b", "--out", OUT]
    assert translate(VERBS["detect"], found[3:])[0] == "it's my photo.jpg"
    (tmp_path / "noted.jsonl").unlink()
    (found,) = run_make(tmp_path, "detect", DETECTOR="d", ARGS="--files_from list")
    assert found[2:] == ["detect", "--detector", "d", "--files_from", "list"]


def test_a_folder_of_photographs_is_a_word(tmp_path: Path) -> None:
    (found,) = run_make(tmp_path, "calibrate", PHOTOS="it's my photos", MODEL="a b", OUT=OUT)
    assert found[2:] == ["calibrate", "it's my photos", "--config", "sd15", "--model", "a b", "--out", OUT]
    translate(VERBS["calibrate"], found[3:])


def test_scoring_a_checkpoint_in_a_folder_with_spaces(tmp_path: Path) -> None:
    predict, evaluate = run_make(tmp_path, "eval", CKPT="runs/it's my run/checkpoints/best.ckpt", **PLACES)
    run = "runs/it's my run"
    ckpt = ["--ckpt", f"{run}/checkpoints/best.ckpt", "--out", run]
    places = ["--data", DATA, "--cache", CACHE]
    assert predict[2:] == ["predict", *ckpt, *places, "--overwrite"]
    assert evaluate[2:] == [
        *("evaluate", *places, "--readings", f"detector={run}/predictions.parquet", "--out", f"{run}/results.json")
    ]


def test_make_alone_lists_its_verbs() -> None:
    command = ["make", "--no-print-directory", "-C", str(ROOT)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert all(f"  {verb} " in done.stdout for verb in ("demo", "shards", "extract", "train", "eval", "check"))
