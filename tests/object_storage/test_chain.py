"""From image files to verdicts with all data in a bucket, by the commands that a user types: as on a disk."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cache_schema import ObjectPath
from tests.models import save_tiny_sd
from tests.object_storage.bucket import Bucket
from tests.object_storage.test_extraction import check_equal

CHANGES = [
    *("--model.backbone=resnet_tiny_clip", "--model.pretrained=false", "--trainer.max_epochs=2"),
    *("--data.crop_px=56", "--data.batch_size=8", "--trainer.accelerator=cpu", "--data.block_tars=2"),
]


def run(module: str, *arguments: object) -> str:
    """Run `python -m module …` and show what it printed if it fails."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def make_source(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        for source in ("real", "smooth"):
            (folder / split / source).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (80, 100, 3) if source == "real" else (10, 12, 3), dtype=np.uint8)
                image = Image.fromarray(pixels).resize((100, 80))
                image.save(folder / split / source / f"{i}.jpg", quality=96)
    return folder


def chain(where: Any, source: Any, model: Path, out: Path, num_workers: int) -> dict[str, Any]:
    """Pack, extract, look, train, score, judge pictures; the numbers of the results."""
    data, cache = where / "data", where / "cache"
    run("extract", "pack", f"--src={source}", f"--out={data}", "--max_rows=8", "--num_workers=1")
    settings = ["--image_size=64", "--batch_size=4", "--compute_dtype=fp32", "--device=cpu", "--num_workers=1"]
    places = [f"--data={data}", f"--cache={cache}"]
    run("extract", "run", "--config", "extract/configs/sd15.yaml", *places, f"--model={model}", *settings)
    run("workflow", "status", *places, "--check")
    run("workflow", "verify", *places, "--deep", "--num_workers=1")
    given = [f"--data.data={data}", f"--data.cache={cache}", f"--out={out}", f"--data.num_workers={num_workers}"]
    run("train", "fit", "-c", "train/configs/lare2.yaml", *given, *CHANGES)
    best = f"--ckpt_path={out}/checkpoints/best.ckpt"
    run("train", "predict", "-c", f"{out}/config.yaml", *given, best, "--return_predictions=false")
    reading = ["--readings", f"detector={out}/predictions.parquet"]
    run("train", "evaluate", *places, *reading, f"--out={out}/results.json")
    run("train", "readings", *places, "--split=test", f"--out_folder={out}/readings")
    run("train", "export", f"--ckpt={out}/checkpoints/best.ckpt", f"--out={out}/detector", *places)
    words = [data, f"{source}/test"]
    run("detect", "run", *words, f"--detector={out}/detector", f"--model={model}", f"--out={where}/verdicts.jsonl")
    results: dict[str, Any] = json.loads((out / "results.json").read_text())["readings"]
    return results


def verdicts(data: bytes, source: object) -> list[dict[str, Any]]:
    """Rows of verdicts without times, and with names below the source."""
    rows = [json.loads(line) for line in data.splitlines()]
    return [{**row, "seconds": None, "name": row["name"].removeprefix(f"{source}/")} for row in rows]


@pytest.mark.timeout(1800)
def test_the_chain_in_a_bucket_equals_the_chain_on_a_disk(
    root: ObjectPath, bucket: Bucket, upload: Callable[[Path, ObjectPath], None], tmp_path: Path
) -> None:
    source, model = make_source(tmp_path / "src"), save_tiny_sd(tmp_path / "sd")
    (tmp_path / "here").mkdir()
    here = chain(tmp_path / "here", source, model, tmp_path / "run-here", num_workers=0)
    upload(source, root / "src")
    there = chain(root, root / "src", model, tmp_path / "run-there", num_workers=1)
    check_equal(tmp_path / "here" / "cache", root / "cache")
    assert here == there
    predicted = [pq.read_table(tmp_path / f"run-{name}" / "predictions.parquet") for name in ("here", "there")]
    assert predicted[0].equals(predicted[1])
    mine = verdicts((tmp_path / "here" / "verdicts.jsonl").read_bytes(), source)
    theirs = verdicts(bucket.read(f"{root.key}/verdicts.jsonl"), root / "src")
    assert mine == theirs
    assert len(mine) == 2 * (12 + 4 + 4) + 2 * 4
    readings = [sorted((tmp_path / f"run-{name}" / "readings").iterdir()) for name in ("here", "there")]
    assert [path.name for path in readings[0]] == [path.name for path in readings[1]] != []
    assert all(pq.read_table(a).equals(pq.read_table(b)) for a, b in zip(*readings, strict=True))
    copies = [path.name for path in (tmp_path / "copies").iterdir() if path.is_file()]
    assert len(copies) >= 2 * 5 + 1  # each tar, each store, the index
    assert not [name for name in copies if name.endswith(".part")]
    secrets = [value for value in bucket.swift.environment.values() if value != "true" and value != "us-east-1"]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.stat().st_size < 10**6:
            content = path.read_bytes()
            assert not [value for value in secrets if value.encode() in content], path
