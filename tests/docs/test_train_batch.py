"""docs/train.sbatch trains on the nodes and GPUs that a job has, one of each too, and resumes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

SCRIPT = ROOT / "docs" / "train.sbatch"
SRUN = '#!/bin/bash\nwhile [[ $1 == --* ]]; do echo "$1" >> options; shift; done\nexec "$@"\n'
"""What SLURM's does on one node: it starts the command that follows its options, which are noted."""


@pytest.mark.parametrize(("nodes", "tasks"), [("1", "1"), ("4", "8")])
def test_flags_follow_the_job(tmp_path: Path, nodes: str, tasks: str) -> None:
    note = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"
    for name, text in (("srun", SRUN), ("make", note)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_NUM_NODES": nodes, "SLURM_NTASKS_PER_NODE": tasks, "SLURM_CPUS_PER_TASK": "10", "OUT": "out"}
    how = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ARGS": "--seed 3", **job}

    def run() -> list[str]:
        done = subprocess.run(["bash", SCRIPT], cwd=tmp_path, env=how, capture_output=True, text=True, check=True)
        verb, arguments = json.loads(done.stdout)
        assert verb == "train"
        return arguments.removeprefix("ARGS=").split()

    flags = f"--out out --trainer.strategy ddp --trainer.num_nodes {nodes} --trainer.devices {tasks}".split()
    assert run() == [*flags, "--seed", "3"]
    # Ranks that wait for one that has failed would keep their GPUs until the time limit.
    assert (tmp_path / "options").read_text().splitlines() == ["--kill-on-bad-exit=1", "--cpus-per-task=10"]
    last = tmp_path / "out" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    assert run() == [*flags, "--ckpt_path", "out/checkpoints/last.ckpt", "--seed", "3"]


def test_the_line_for_one_gpu_asks_for_one_of_each() -> None:
    (line,) = re.findall(r"^# On one GPU.*: sbatch (.*) docs/train\.sbatch$", SCRIPT.read_text(), re.M)
    assert line.split() == ["--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=1"]
