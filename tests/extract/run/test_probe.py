"""Maps of single pictures by a cache's fingerprint: the stored ones, for every kind of settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema import (
    Dataset,
    FingerprintMismatch,
    Status,
    decode_image,
    open_cache,
    read_image_bytes,
    resize_canvas,
    store_name,
)
from extract import ModelSource, Probe, collate
from extract.run.fingerprint import config_of
from tests.extract.conftest import Run


def probe_maps(probe: Probe, dataset: Dataset, n: int) -> np.ndarray:
    """Maps of a tar's images by a probe, in batches of two."""
    rows = []
    for row in dataset.rows(n).to_pylist():
        data = read_image_bytes(dataset.tar_path(n), row["offset"], row["size"])
        canvas = resize_canvas(decode_image(data), probe.config.image_size)
        rows.append(probe.make_row(row["key"], canvas, bytes.fromhex(row["sha256"])))
    batches = (collate(rows[i : i + 2], 2) for i in range(0, len(rows), 2))
    return np.concatenate([settled.maps for _, settled in probe.load().compute(batches)])


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("sd", {}),
        ("sd", {"stored_dtype": "float16", "mantissa_bits": 4, "ensemble_size": 2, "timestep": 500}),
        ("sd", {"prompt": "it's \"a\" photo, else: 'none'"}),
        ("sd_v", {"noise_seed": 7}),
        ("unconditional", {}),
        ("tiny_vae", {}),
        ("sd", {"method": "roundtrip"}),
        ("sd", {"method": "dire", "inversion_steps": 2}),
        ("sd", {"method": "one_step"}),
    ],
)
def test_the_maps_are_those_of_the_cache(
    models: dict[str, Path], packed: Dataset, tmp_path: Path, run: Run, model: str, settings: dict[str, Any]
) -> None:
    cache_folder = tmp_path / "cache"
    assert run(cache=cache_folder, model=models[model], **settings) == 0
    cache = open_cache(cache_folder)
    probe = Probe.prepare(cache.fields, ModelSource(str(models[model])))
    assert dict(probe.fields) == dict(cache.fields)
    for n, entry in enumerate(packed.tars):
        stored = cache.read(store_name(entry.name)).lare.astype(np.float32)
        found = probe_maps(probe, packed, n)
        rounding = 2.0 ** -(cache.fields["mantissa_bits"]) if cache.fields["stored_dtype"] == "float16" else 1e-5
        assert np.abs(found - stored).max() <= rounding * np.abs(stored).max()


def test_a_template_uses_its_fallback(models: dict[str, Path], packed: Dataset, tmp_path: Path, run: Run) -> None:
    settings = {"prompt_policy": "template", "prompt": "a photo of a {class_name}", "prompt_fallback": "a rose"}
    assert run(**settings) == 0
    probe = Probe.prepare(open_cache(tmp_path / "cache").fields, ModelSource(str(models["sd"])))
    assert probe.model.policy.text_without_class == "a rose" and probe.model.policy.text == settings["prompt"]


def test_another_model_is_refused(models: dict[str, Path], packed: Dataset, tmp_path: Path, run: Run) -> None:
    assert run() == 0
    fields = open_cache(tmp_path / "cache").fields
    with pytest.raises(FingerprintMismatch, match="prediction_type: epsilon ≠ v_prediction"):
        Probe.prepare(fields, ModelSource(str(models["sd_v"])))
    with pytest.raises(FingerprintMismatch, match="recipe: 0 ≠ 1"):
        Probe.prepare({**fields, "recipe": 0}, ModelSource(str(models["sd"])))


def test_another_compute_dtype_is_allowed_and_shows_in_the_fields(
    models: dict[str, Path], packed: Dataset, tmp_path: Path, run: Run
) -> None:
    assert run() == 0
    fields = open_cache(tmp_path / "cache").fields
    probe = Probe.prepare(fields, ModelSource(str(models["sd"])), compute_dtype="bf16")
    assert probe.fields["compute_dtype"] == "bf16" and fields["compute_dtype"] == "fp32"


def test_probes_of_one_model_share_its_weights(
    models: dict[str, Path], packed: Dataset, tmp_path: Path, run: Run
) -> None:
    assert run() == 0
    fields = dict(open_cache(tmp_path / "cache").fields)
    first, later = (Probe.prepare({**fields, "timestep": t}, ModelSource(str(models["sd"]))) for t in (200, 500))
    assert first.shares_model(later)
    loaded = first.load()
    assert later.load(loaded).maker.model is loaded.maker.model
    assert run(cache=tmp_path / "one-step", method="one_step") == 0
    decoding = Probe.prepare(open_cache(tmp_path / "one-step").fields, ModelSource(str(models["sd"])))
    assert not first.shares_model(decoding)


def test_maps_that_are_not_finite_have_a_status(
    models: dict[str, Path], packed: Dataset, tmp_path: Path, run: Run
) -> None:
    assert run(stored_dtype="float16") == 0
    probe = Probe.prepare(open_cache(tmp_path / "cache").fields, ModelSource(str(models["sd"])))
    row = probe.make_row("key", np.zeros((64, 64, 3), np.uint8), bytes(32))
    broken = row._replace(noise=row.noise * np.float32(np.nan))
    ((_, settled),) = probe.load().compute(iter([collate([row, broken], 2)]))
    assert settled.status.tolist() == [Status.OK, Status.NON_FINITE] and settled.reasons[0] == ""
    assert np.isnan(settled.maps[1]).all() and settled.reasons[1].startswith("the map is not finite")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 10**9}, "image_size of the maps is 1000000000: expected a number up to 4096"),
        ({"ensemble_size": "4"}, "ensemble_size of the maps is '4': expected a number"),
        ({"timestep": -1}, "timestep of the maps is -1"),
        ({"method": "import"}, "method is 'import': expected one of"),
        ({"compute_dtype": "int8"}, "compute_dtype is 'int8'"),
        ({"prompt_policy": "fixed: __import__('os')"}, "no texts can be read from it"),
        ({"prompt_policy": "caption"}, "expected fixed, template or none"),
    ],
)
def test_a_strangers_fields_are_checked(change: dict[str, Any], message: str) -> None:
    fields = {"method": "lare", "image_size": 64, "timestep": 200, "ensemble_size": 4, "noise_seed": 0}
    with pytest.raises(ValueError, match=message):
        config_of({**fields, **change}, ModelSource("nowhere"))


def test_an_extractions_settings_make_the_probe_of_its_cache(
    models: dict[str, Path], packed: Dataset, tmp_path: Path, run: Run
) -> None:
    assert run(cache=tmp_path / "cache", model=models["sd"], ensemble_size=2) == 0
    fields = open_cache(tmp_path / "cache").fields
    config = config_of(fields, ModelSource(str(models["sd"])))
    assert dict(Probe.from_config(config).fields) == dict(fields)
    with pytest.raises(ValueError, match="timesteps and ensemble_sizes make several maps of a picture"):
        Probe.from_config(replace(config, ensemble_sizes=[1, 2]))
