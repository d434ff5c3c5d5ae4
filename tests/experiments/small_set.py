"""A toy benchmark in miniature: photo tiles, images made from them, and a study of it with a tiny diffusion model."""

from pathlib import Path
from typing import Any

import numpy as np

from cache_schema import Dataset, Sample, decode_image, write_dataset
from demo.toy.crops import list_photographs
from demo.toy.sources import REAL
from experiments.study.config import StudyConfig
from experiments.study.study import Study
from tests.samples import encode_png, make_sample
from workflow.code_hash import ROOT

ROUNDTRIP = "vae-roundtrip"
SPLITS = ("train",) * 6 + ("validation",) * 3 + ("test",) * 3
"""Of the photographs by their order."""


def write_small_set(folder: Path, photos: Path, *, is_matched: bool = False) -> Dataset:
    """Two tiles of each of 12 photographs, an image derived from each (source `derived`), and one that is not (`free`).

    If it is matched, round trips of the tiles are the real class, and the tiles controls. Otherwise the other way.
    """
    samples = []
    for split, (name, file) in zip(SPLITS, list_photographs(photos).items(), strict=True):
        pixels = np.asarray(decode_image(file.read_bytes()))
        for k in range(2):
            tile = pixels[40 * k : 40 * k + 64, :64]
            about = {"split": split, "group": name, "class_name": "daisy" if "daisy" in name else None}
            real = _make(REAL, f"{name}-0-{k}", tile, label=None if is_matched else 0, **about)
            about["derived_from"] = real.key
            roundtrip = _make(ROUNDTRIP, f"{name}-0-{k}", tile // 2 * 2, label=0 if is_matched else None, **about)
            derived = _make("derived", f"{name}-0-{k}", tile // 2, label=1, **about)
            about |= {"group": f"free/{name}-{k}", "derived_from": None}
            samples += [real, roundtrip, derived, _make("free", f"{name}-{k}", 255 - tile // 3, label=1, **about)]
    return write_dataset(folder, samples, {"made_by": "a test"}, max_rows=16)


def _make(image_source: str, name: str, pixels: np.ndarray, **fields: Any) -> Sample:
    data, path = encode_png(np.ascontiguousarray(pixels)), f"{image_source}/{name}.png"
    facts = {"subset": "toy", "width": 64, "height": 64, "source_path": path, "image_source": image_source}
    return make_sample(0, image=data, **facts, **fields)


def make_study(data: Path, model: Path, out: Path, **changes: Any) -> Study:
    """A study with one seed and one epoch, whose default cache is there."""
    configs = ROOT / "demo" / "configs"
    overrides = (
        *("--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"),
        *("--data.batch_size=8", "--data.num_workers=0"),
    )
    settings: dict[str, Any] = {
        "data": data,
        "model": str(model),
        "caches": out / "caches",
        "out": out / "study",
        "extract_config": configs / "extract.yaml",
        "recipe": configs / "full.yaml",
        "num_seeds": 1,
        "num_epochs": 1,
        "fit_overrides": overrides,
    }
    study = Study(StudyConfig(**settings | changes))
    study.extract(study.default_cache)
    return study
