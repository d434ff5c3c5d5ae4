"""Training in two processes: two nodes of a real SLURM cluster, and torchrun, give the same weights to the bit."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from cache_schema import RULES, Dataset, Fingerprint, create_cache, store_name, write_dataset
from tests.samples import make_sample, make_shard
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings that make a fit a matter of seconds, with their dataset and cache."""
    root = tmp_path_factory.mktemp("training")
    splits = ["train"] * 32 + ["validation"] * 8
    samples = [make_sample(i, split=split) for i, split in enumerate(splits)]
    dataset = write_dataset(root / "data", samples, {"made_by": "a test"}, max_rows=8)
    settings = {
        "seed_everything": 7,
        "trainer": {
            "max_epochs": 2,
            "precision": "32-true",
            "accelerator": "cpu",
            "strategy": "ddp",
            "log_every_n_steps": 1,
            "enable_model_summary": False,
            "logger": False,
        },
        "model": {"backbone": "resnet_tiny_clip", "pretrained": False},
        "data": {
            "data": str(dataset.folder),
            "cache": str(_fill_cache(root / "cache", dataset)),
            "batch_size": 4,
            "num_workers": 1,
            "crop_px": 16,
        },
    }
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def _fill_cache(folder: Path, dataset: Dataset) -> Path:
    fields = {"method": "lare", "timestep": 200, "image_size": 16, "stored_dtype": "float32", "mantissa_bits": 23}
    cache = create_cache(folder, dataset.dataset_id, Fingerprint(fields | RULES))
    for number, tar in enumerate(dataset.tars):
        cache.write(store_name(tar.name), make_shard(dataset.rows(number), tar))
    return folder


def train_command(recipe: Path, out: Path, flags: str) -> list[str]:
    return ["make", "train", f"CONFIG={recipe}", f"ARGS=--out={out} {flags}"]


def load_weights(out: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = out.rglob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] == 8  # 32 samples, 2 ranks × 4, 2 epochs
    weights: dict[str, torch.Tensor] = content["state_dict"]
    return weights


def test_two_nodes_of_slurm_and_torchrun_train_the_same_weights(cluster: Cluster, recipe: Path, tmp_path: Path) -> None:
    on_slurm, by_torchrun = tmp_path / "slurm", tmp_path / "torchrun"
    work = train_command(recipe, on_slurm, "--trainer.num_nodes=2 --trainer.devices=1")
    srun = ["srun", "--nodes=2", "--ntasks-per-node=1", "--job-name=lare-train", f"--chdir={ROOT}"]
    # The nodes of this cluster have no address of their own by which gloo could find the first one.
    environment = {**cluster.environment, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run([*srun, *work], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in done.stderr

    torchrun = "PY=.venv/bin/torchrun --standalone --nnodes=1 --nproc-per-node=2"
    work = train_command(recipe, by_torchrun, "--trainer.devices=2")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*work, torchrun], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in done.stderr

    ours, theirs = load_weights(on_slurm), load_weights(by_torchrun)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_batch_file_of_the_documentation_trains_and_resumes(cluster: Cluster, recipe: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(recipe.read_text())
    out = tmp_path / "run"
    last = {"filename": "last", "enable_version_counter": False, "save_on_train_epoch_end": True}
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": last}
    settings["trainer"] |= {"callbacks": [callback], "max_epochs": 1}
    data = settings["data"]
    options = ["--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=0", "--cpus-per-task=1", "--time=10"]
    options += [f"--output={tmp_path}/%j.log", f"--chdir={ROOT}"]
    variables = {"DATA": data["data"], "CACHE": data["cache"], "OUT": str(out), "CONFIG": str(tmp_path / "recipe.yaml")}
    variables |= {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    for epochs in (1, 2):  # the second job goes on from the first one's checkpoint
        settings["trainer"]["max_epochs"] = epochs
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
        cluster.run("sbatch", *options, f"{ROOT}/docs/train.sbatch", **variables)
        cluster.wait_until_idle(300)
        logs = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
        assert (out / "checkpoints" / "last.ckpt").exists(), logs
        step = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
        assert step == 4 * epochs, logs
