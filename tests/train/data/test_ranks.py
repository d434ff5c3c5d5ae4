"""Two processes over gloo: the predictions and weights of one, and of a fit that was never stopped."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.train.packed import CANVAS_PX, extract, module, pack
from train.record import describe_training
from train.task import LareTask

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def _run(*arguments: object) -> None:
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_ranks_predict_what_one_does(tmp_path: Path) -> None:
    dataset = pack(tmp_path / "data", test=11)  # with the controls an odd number: one rank has one more than the other
    cache = extract(dataset, tmp_path / "cache")
    torch.manual_seed(0)
    task = LareTask(backbone="resnet_tiny_clip", image_size=CANVAS_PX, map_channels=3)
    content = {
        "state_dict": task.state_dict(),
        "hyper_parameters": dict(task.hparams),
        "trained_on": describe_training(module(dataset, cache, crop_px=CANVAS_PX)),
        "pytorch-lightning_version": "2.5.0",
    }
    torch.save(content, tmp_path / "some.ckpt")
    data = {"data": dataset.folder, "cache": cache.folder, "batch_size": 3, "num_workers": 0, "crop_px": CANVAS_PX}
    common = [*(f"--data.{name}={value}" for name, value in data.items()), f"--ckpt_path={tmp_path / 'some.ckpt'}"]
    common += ["--model.backbone=resnet_tiny_clip", "--trainer.accelerator=cpu", "--return_predictions=false"]
    for name, ranks in (("one", ["--trainer.devices=1"]), ("two", ["--trainer.devices=2", "--trainer.strategy=ddp"])):
        _run("train", "predict", *common, *ranks, f"--out={tmp_path / name}")
    one, two = (pq.read_table(tmp_path / name / "predictions.parquet") for name in ("one", "two"))
    assert len(one) == 13
    assert one.drop(["logit_real", "logit_generated", "score", "probability"]).equals(
        two.drop(["logit_real", "logit_generated", "score", "probability"])
    )
    for column in ("logit_real", "logit_generated", "score", "probability"):
        np.testing.assert_allclose(one[column].to_numpy(), two[column].to_numpy(), rtol=0, atol=1e-6)


def test_two_ranks_train_what_one_does(tmp_path: Path) -> None:
    # Compared: the weights after three clipped steps of Adam on the same global batches, four samples in one process
    # against two in each of two; float64, dropout off, batch norm by its running statistics. In float32 Adam blows the
    # rounding of gradients that are nothing but rounding up to whole steps.
    for ranks in (1, 2):
        _run("tests.train.ranks", ranks, tmp_path / f"{ranks}.pt")
    one, two = (torch.load(tmp_path / f"{ranks}.pt", weights_only=True) for ranks in (1, 2))
    assert one["steps"] == two["steps"] == 3
    torch.manual_seed(0)
    start = LareTask(backbone="resnet_tiny_clip", image_size=16, map_channels=2).model.state_dict()
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, rtol=1e-7, atol=1e-9, msg=name)
    assert (one["weights"]["head.weight"] - start["head.weight"]).abs().max() > 1e-3


def test_each_rank_of_a_resumed_fit_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    _run("tests.train.ranks_resumed", tmp_path)
    found = {
        (name, rank): torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True)
        for name in ("whole", "resumed")
        for rank in range(2)
    }
    assert len(found["whole", 0]["kept"]) == 4
    assert not torch.equal(found["whole", 0]["kept"][3], found["whole", 1]["kept"][3])  # streams of their own
    for rank in range(2):
        whole, resumed = found["whole", rank], found["resumed", rank]
        assert len(resumed["kept"]) == 2
        assert all(map(torch.equal, whole["kept"][2:], resumed["kept"]))
        assert all(torch.equal(whole["weights"][name], value) for name, value in resumed["weights"].items())
