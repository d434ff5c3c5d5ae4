"""The Makefile: its verbs give `lare` what was set, spaces, apostrophes and all."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from workflow.cli.flags import translate
from workflow.cli.verbs import VERBS, load_questions
from workflow.code_hash import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")

DATA, CACHE, OUT = "my data", "that's a cache", "new 'folder' \"here\""
PLACES = {"DATA": DATA, "CACHE": CACHE}


ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
"""As of a shell: these tests may be run by make."""


def run_make(
    tmp_path: Path, verb: str, environment: Mapping[str, str] = MappingProxyType({}), **variables: str
) -> list[list[str]]:
    """Run a verb for real, with a program in place of Python that notes what it is given."""
    noted = tmp_path / "noted.jsonl"
    note = tmp_path / "note.py"
    note.write_text(f"import json, sys\nopen({str(noted)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n")
    settings = [f"{name}={value}" for name, value in {"PY": f"{sys.executable} {note}", **variables}.items()]
    command = ["make", "--no-print-directory", "-C", str(ROOT), "-o", ".venv/.installed", verb, *settings]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT | environment)
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
        ("train", {"CACHE": "[a,b]", "ARGS": "--seed=1"}, "fit --config=lare2 --cache=[a,b] --seed=1"),
        ("demo", {"OUT": OUT}, f"demo --out={OUT}"),
        ("bench", {"OUT": OUT, "DEVICE": "cuda"}, f"bench --out={OUT} --device=cuda"),
        ("report", {"DATA": DATA}, f"question report --data={DATA}"),
        ("report", {"CONFIG": "my 'own'.yaml"}, "question report --config=my 'own'.yaml"),
        ("report", {"PRESET": "full"}, "question report --config=toy-full"),
        ("serve", {"DETECTOR": "my detector", "MODEL": "a b"}, "serve --detector=my detector --model=a b"),
        ("serve", {"DETECTOR": "d", "ARGS": "--port=9000"}, "serve --detector=d --port=9000"),
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
    assert found[2:] == [*name.split(), *(f"--{flag}" for flag in flags)]
    if "CONFIG" not in variables:  # the verb knows all of these flags
        question = found[2] == "question"
        translate(load_questions()[found[3]] if question else VERBS[found[2]], found[4 if question else 3 :])


def test_a_picture_is_a_word(tmp_path: Path) -> None:
    (found,) = run_make(tmp_path, "detect", IMG="it's my photo.jpg", DETECTOR="my detector", MODEL="a b", OUT=OUT)
    assert found[:3] == ["-m", "workflow", "detect"]
    assert found[3:] == ["--files=it's my photo.jpg", "--detector=my detector", "--model=a b", f"--out={OUT}"]
    assert translate(VERBS["detect"], found[3:])[0] == "it's my photo.jpg"
    (tmp_path / "noted.jsonl").unlink()
    (found,) = run_make(tmp_path, "detect", DETECTOR="d", ARGS="--files_from list")
    assert found[2:] == ["detect", "--detector=d", "--files_from", "list"]


def test_a_folder_of_photographs_is_a_word(tmp_path: Path) -> None:
    (found,) = run_make(tmp_path, "calibrate", PHOTOS="it's my photos", MODEL="a b", OUT=OUT)
    assert found[2:] == ["calibrate", "--photos=it's my photos", "--config=sd15", "--model=a b", f"--out={OUT}"]
    translate(VERBS["calibrate"], found[3:])


def test_scoring_a_checkpoint_in_a_folder_with_spaces(tmp_path: Path) -> None:
    predict, evaluate = run_make(tmp_path, "eval", CKPT="runs/it's my run/checkpoints/best.ckpt", **PLACES)
    run = "runs/it's my run"
    ckpt = [f"--ckpt={run}/checkpoints/best.ckpt"]
    places = [f"--data={DATA}", f"--cache={CACHE}"]
    to = ["--out", run, "--predictions.path", "predictions.parquet"]
    assert predict[2:] == ["predict", *ckpt, *places, "--overwrite", *to]
    assert evaluate[2:] == [
        *("evaluate", *places, "--readings", f"detector={run}/predictions.parquet", "--out", f"{run}/results.json")
    ]


HOSTILE = (
    "$(shell touch {marker})",
    "${{shell touch {marker}}}",
    "$(eval SHELL := touch {marker})",
    "$$(touch {marker})",
    "`touch {marker}`",
    "'; touch {marker}; '",
    '"; touch {marker} #',
    "--model=$(touch {marker})",
)
"""Names of files that would make a marker."""


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("is_exported", [False, True])
def test_a_name_is_never_run(name: str, is_exported: bool, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    hostile = name.format(marker=marker)
    places = dict.fromkeys(("IMG", "DETECTOR", "MODEL", "OUT", "DATA", "CACHE", "CONFIG", "SRC", "TORCH"), hostile)
    for verb in ("detect", "extract"):
        (found,) = run_make(tmp_path, verb, places) if is_exported else run_make(tmp_path, verb, **places)
        assert not marker.exists()
        assert f"--model={hostile}" in found and f"--{'files' if verb == 'detect' else 'data'}={hostile}" in found
        (tmp_path / "noted.jsonl").unlink()


@pytest.mark.parametrize("name", [*HOSTILE[:5], "x; touch {marker}", "x | touch {marker}", "x & touch {marker}"])
def test_flags_that_the_shell_would_act_on_are_refused(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run_make(tmp_path, "detect", DETECTOR="d", ARGS=name.format(marker=marker))
    assert b"which the shell would act on" in refused.value.stderr
    assert not marker.exists()


def test_a_line_break_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run_make(tmp_path, "detect", IMG=f"photo.jpg\ntouch {marker}")
    assert b"IMG holds a line break" in refused.value.stderr
    assert not marker.exists()


def test_a_file_whose_name_looks_like_a_flag_is_a_word(tmp_path: Path) -> None:
    (found,) = run_make(tmp_path, "detect", IMG="--out=elsewhere", DETECTOR="d")
    assert translate(VERBS["detect"], found[3:])[-2:] == ["--", "--out=elsewhere"]


def test_make_alone_lists_its_verbs() -> None:
    command = ["make", "--no-print-directory", "-C", str(ROOT)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert all(f"  {verb} " in done.stdout for verb in ("demo", "shards", "extract", "train", "eval", "check"))
