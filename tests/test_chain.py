"""From image files to metrics in one go, by the commands that a user types, with a model of SD 1.5's shape."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cache_schema import Dataset, open_cache
from tests.models import save_tiny_sd

SHOWS_WHAT_IS_LOADED = """
import runpy, sys
try:
    runpy.run_module("train", run_name="__main__", alter_sys=True)
finally:
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not loaded & {"diffusers", "extract"}, loaded & {"diffusers", "extract"}
"""


def run(module: str, *arguments: str, code: str = "") -> None:
    """Run `python -m module …` and show what it printed if it fails."""
    command = [sys.executable, *(["-c", code] if code else ["-m", module]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_chain_from_files_to_results(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        for source in ("real", "smooth"):
            folder = tmp_path / "src" / split / source
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (80, 100, 3) if source == "real" else (10, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).resize((100, 80)).save(folder / f"{i}.jpg", quality=96)
    data, cache, out = (str(tmp_path / name) for name in ("data", "cache", "run"))

    run("extract", "pack", "--src", str(tmp_path / "src"), "--out", data, "--max_rows", "8")
    save_tiny_sd(tmp_path / "sd")
    settings = ["--image_size", "64", "--batch_size", "4", "--compute_dtype", "fp32", "--device", "cpu"]
    places = ["--data", data, "--cache", cache, "--model", str(tmp_path / "sd")]
    run("extract", "run", "--config", "extract/configs/sd15.yaml", *places, *settings)
    assert open_cache(cache).shards() == sorted(t.name.replace(".tar", ".zarr.zip") for t in Dataset.open(data).tars)
    run("cache_schema", "verify", "--data", data, "--cache", cache)

    changes = ["--model.backbone=resnet_tiny_clip", "--model.pretrained=false", "--trainer.max_epochs=1"]
    changes += ["--data.crop_px=56", "--data.batch_size=8", "--data.num_workers=0", "--trainer.accelerator=cpu"]
    where = [f"--data.data={data}", f"--data.cache={cache}", f"--out={out}"]
    run("train", "fit", "-c", "train/configs/lare2.yaml", *where, *changes, code=SHOWS_WHAT_IS_LOADED)
    best = f"--ckpt_path={out}/checkpoints/best.ckpt"
    run("train", "predict", "-c", f"{out}/config.yaml", *where, best, "--return_predictions=false")
    predictions = f"{out}/predictions.parquet"
    assert pq.read_table(predictions)["split"].to_pylist() == ["test"] * 8
    reading = ["--readings", f"detector={predictions}"]
    run("train", "evaluate", f"--data={data}", f"--cache={cache}", *reading, f"--out={out}/results.json")

    block = json.loads(Path(out, "results.json").read_text())["readings"]["detector"]["sources"]["smooth"]
    assert (block["n_real"], block["n_generated"]) == (4, 4) and 0 <= block["auroc"] <= 1
