import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cache_schema import Dataset, FingerprintMismatch, open_cache
from experiments.caches import run
from experiments.passes import plan
from experiments.study import study as study_module
from experiments.study.study import Study
from tests.models import save_tiny_sd


def test_passes_make_every_cache_once(study: Study) -> None:
    config = replace(study.config, timesteps=(50, 200, 900), ensemble_sizes=(1, 2, 8))
    first, second, third = plan(config)
    assert first.caches == ("t200-e1", "t200-e2", "t200-e8") and first.num_unet_calls == 8
    assert second.caches == ("t50-e2", "t900-e2") and second.num_unet_calls == 4
    assert third.caches == ("t200-e2-bf16",) and third.num_unet_calls == 2 and not third.is_sweep
    assert len(plan(replace(config, timesteps=(200,)))) == 2


def test_caches_are_made_once_and_their_cost_is_told(
    dataset: Dataset, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"image_size": 64, "prompt": "a photo", "compute_dtype": "bf16", "num_workers": 0, "device": "cpu"}
    file = tmp_path / "extract.yaml"
    file.write_text(yaml.safe_dump(settings))
    model, caches = save_tiny_sd(tmp_path / "model"), tmp_path / "new"
    made = Study(replace(study.config, extract_config=file, model=str(model), caches=caches))
    with caplog.at_level(logging.INFO, logger="experiments.caches"):
        run(made)
    text = caplog.text
    assert f"ensemble sizes [1, 2] at t = 200: {len(dataset.tars)} tars × 24 images × 2 UNet calls" in text
    assert "timesteps [50] at e = 2" in text and "assuming 0.1 TMAC/s in fp32" in text
    names = {"t50-e2", "t200-e1", "t200-e2", "t200-e2-bf16", "t200-e2-float16-m10", "t200-e2-float16-m4"}
    assert {folder.name for folder in caches.iterdir() if folder.is_dir() and folder.name[0] != "."} == names
    fields = {name: open_cache(made.cache(name)).fields for name in names}
    assert all(len(open_cache(caches / name).shards()) == len(dataset.tars) for name in names)
    assert {name for name in names if fields[name]["compute_dtype"] == "bf16"} == {"t200-e2-bf16"}
    assert fields["t200-e2"]["stored_dtype"] == "float32" and fields["t200-e2-float16-m4"]["mantissa_bits"] == 4
    costs = json.loads((caches / "costs.json").read_text())
    assert costs["image_size_px"] == 64 and costs["unet"] > 0 and costs["vae_encoder"] > 0

    stores = {path: path.stat().st_mtime_ns for path in caches.rglob("*.zarr.zip")}
    monkeypatch.setattr(study_module, "run_module", None)  # nothing is left that takes a model
    run(made)
    assert {path: path.stat().st_mtime_ns for path in caches.rglob("*.zarr.zip")} == stores

    save_tiny_sd(model, seed=1)
    with pytest.raises(FingerprintMismatch, match=r"t200-e1 was made with another unet than .* holds now"):
        run(made)
