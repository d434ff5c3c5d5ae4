"""docs/fits.sbatch gives each task of an array the run of its number, with words as they were typed."""

import os
import subprocess
import sys
from pathlib import Path

from cache_schema import Dataset, Fingerprint, create_cache, store_name, write_dataset
from tests.docs.blocks import ROOT
from tests.samples import make_sample, make_shard

SRUN = '#!/bin/bash\n[ "$1" = --cpus-per-task=10 ] || exit 9\nshift\nexec "$@"\n'
"""What SLURM's does on one node: it starts the command that follows its options."""


def test_a_task_does_the_run_of_its_number(tmp_path: Path) -> None:
    splits = [split for split in ("train", "validation", "test") for _ in range(4)]
    data = write_dataset(tmp_path / "my data", [make_sample(n, split=s) for n, s in enumerate(splits)], {})
    make_cache(tmp_path / "cache", data)
    (tmp_path / "recipe.yaml").write_text("trainer: {max_epochs: 2}\n")
    for name, text in (("srun", SRUN), (".venv/bin/python", f'#!/bin/bash\nexec {sys.executable} "$@"\n')):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    words = [
        "matrix",
        "--recipe",
        "recipe.yaml",
        "--cache",
        "cache",
        "--out",
        "out",
        "--seeds",
        "3",
        "--dry_run",
        "--data",
    ]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "SLURM_CPUS_PER_TASK": "10"}

    def run(number: int) -> subprocess.CompletedProcess[str]:
        call = ["bash", str(ROOT / "docs" / "fits.sbatch"), *words, "my data"]
        how = os.environ | environment | {"SLURM_ARRAY_TASK_ID": str(number)}
        return subprocess.run(call, cwd=tmp_path, env=how, capture_output=True, text=True, check=False)

    done = run(2)
    assert done.returncode == 0, done.stderr
    assert "1 fit of 2 epochs, 0 done; 8 training images" in done.stderr  # of the three that are listed
    assert done.stdout == "0  to do  toy, seed 0\n1  to do  toy, seed 1\n2  to do  toy, seed 2\n"
    beyond = run(3)
    assert beyond.returncode == 1 and "only names run 3: there are 3 runs, 0 … 2" in beyond.stderr


def make_cache(folder: Path, data: Dataset) -> None:
    """A cache of random maps."""
    fields = {"method": "lare", "timestep": 200, "image_size": 64, "stored_dtype": "float32", "mantissa_bits": 23}
    cache = create_cache(folder, data.dataset_id, Fingerprint(fields))
    for n, entry in enumerate(data.tars):
        cache.write(store_name(entry.name), make_shard(data.rows(n), entry))
