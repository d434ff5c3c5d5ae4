"""Other reconstruction errors as methods of stage 1: what the maps are, and what they do not depend on."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from cache_schema import Dataset, Status, open_cache
from extract.config import ExtractConfig
from extract.models.costs import count_macs, count_macs_by_part
from extract.models.folder import ModelFolder
from extract.models.stable_diffusion import StableDiffusion
from extract.needs import NEEDS, MethodName
from extract.run.fingerprint import compute_fingerprint
from extract.run.methods import METHODS as ALL_METHODS
from extract.run.methods import make_method
from extract.run.model import Model
from extract.variants import NO_DRAWS, Variant
from tests.extract.conftest import Run, assert_same_maps, pack, read_maps
from tests.extract.formulas import maps_by_formula
from tests.extract.run.test_pipeline import break_images, pack_broken, pack_one_black
from tests.models import macs_of_run
from tests.train.packed import module
from train.commands.readings import compute_readings

METHODS = {"dire": {"inversion_steps": 2}, "one_step": {}, "roundtrip": {}}
COMMON_FIELDS = {"recipe", "method", "vae_sha256", "vae_config_sha256", "latent_rule", "image_size", "resize", "filter"}
COMMON_FIELDS |= {"color", "alpha", "orientation", "compute_dtype", "stored_dtype", "mantissa_bits"}
UNET_FIELDS = {"unet_sha256", "unet_config_sha256", "text_encoder_sha256", "text_encoder_config_sha256"}
UNET_FIELDS |= {"tokenizer_sha256", "alphas_cumprod_sha256", "prediction_type", "prompt_policy"}
NOISE_FIELDS = {"timestep", "ensemble_size", "noise_seed", "noise_rule", "noise_probe_sha256"}
FIELDS = {
    "lare": COMMON_FIELDS | UNET_FIELDS | NOISE_FIELDS,
    "dire": COMMON_FIELDS | UNET_FIELDS | {"inversion_steps", "inversion_rule", "error_rule"},
    "one_step": COMMON_FIELDS | UNET_FIELDS | NOISE_FIELDS | {"error_rule"},
    "roundtrip": COMMON_FIELDS | {"error_rule"},
}


@pytest.mark.parametrize(
    ("method", "model"),
    [("dire", "sd"), ("dire", "sd_v"), ("one_step", "sd"), ("one_step", "sd_v"), ("roundtrip", "sd")],
)
def test_stored_maps_equal_the_formula(
    method: str, model: str, models: dict[str, Path], packed: Dataset, run: Run, tmp_path: Path
) -> None:
    assert run(method=method, model=models[model], **METHODS[method]) == 0
    expected = maps_by_formula(method, models[model], model == "sd_v", packed)
    # Random weights amplify the rounding of one step in the next.
    assert_same_maps(expected, read_maps(tmp_path / "cache"), tolerance=1e-4 if method == "dire" else 1e-5)
    assert open_cache(tmp_path / "cache").fields.keys() == FIELDS[method]


@pytest.mark.parametrize("method", METHODS)
def test_a_map_does_not_depend_on_batch_order_or_neighbours(
    method: str, packed: Dataset, run: Run, tmp_path: Path
) -> None:
    # Trained weights: random ones amplify rounding from step to step.
    settings = {"method": method, "model": "demo/models/toy-a", **METHODS[method]}
    assert run(**settings) == 0
    expected = read_maps(tmp_path / "cache")
    assert len(expected) == 7
    assert all(lare.shape == (3, 16, 16) and lare.min() >= 0 and lare.mean() > 0.01 for lare in expected.values())
    pack(tmp_path / "reordered", [6, 2, 5, 0, 1], max_rows=3)
    settings |= {"data": tmp_path / "reordered", "cache": tmp_path / "other"}
    assert run(**settings, batch_size=1, channels_last="false") == 0
    other = read_maps(tmp_path / "other")
    assert len(other) == 5
    assert_same_maps({key: expected[key] for key in other}, other)


@pytest.mark.parametrize("model", ["unconditional", "tiny_vae"])
@pytest.mark.parametrize("method", METHODS)
def test_other_models(
    method: str, model: str, models: dict[str, Path], packed: Dataset, run: Run, tmp_path: Path
) -> None:
    assert run(method=method, model=models[model], shard=1, **METHODS[method]) == 0
    maps, fields = read_maps(tmp_path / "cache"), open_cache(tmp_path / "cache").fields
    assert len(maps) == 2 and all(lare.shape == (3, 8, 8) and 0 < lare.mean() < 2 for lare in maps.values())
    expected = (
        "deterministic" if model == "tiny_vae" else "posterior sample" if method == "one_step" else "posterior mean"
    )
    assert fields["latent_rule"] == expected
    assert fields["error_rule"] == "mean absolute error of RGB in [-1, 1] per latent cell, reconstruction clamped"


def test_the_fingerprint_of_lare_is_what_it_was(models: dict[str, Path], packed: Dataset) -> None:
    parts = [f"{part}{kind}" for part in ("unet", "vae", "text_encoder") for kind in ("_sha256", "_config_sha256")]
    hashes = dict.fromkeys([*parts, "tokenizer_sha256"], "0" * 64)
    for model, expected in (
        ("sd", "0d497710237b96f35390a1ce244c03797f7f4407cc48cb3ae322dd0498616f6c"),
        ("sd_v", "21338f92822231f2bb34434468372ab3e704ddbacae12678fdb4f61212659d19"),
        ("tiny_vae", "6d22b7b95daae66e2d624c994003a3901155febc89f50cdafad8e4d07da0d5d4"),
        ("unconditional", "31a735bc7d7aeaa774c6a52c068cef63a6b7d41749e8160d45ee541beddafc1f"),
    ):
        config = ExtractConfig(data=str(packed.folder), cache="cache", model=str(models[model]), image_size=64)
        prepared = Model.prepare(config, packed, config.needs)
        method = make_method(config, prepared.folder)
        fingerprint = compute_fingerprint(config, Variant(200, 4), prepared, method, hashes)
        assert fingerprint.hexdigest == expected, model
    assert fingerprint.fields.keys() == FIELDS["lare"]


@pytest.mark.parametrize(
    ("method", "without_effect", "differences"),
    [
        (
            "dire",
            {"timestep": 100, "ensemble_size": 8, "noise_seed": 3},
            {"inversion_steps: 2 ≠ 3": {"inversion_steps": 3}},
        ),
        ("one_step", {"inversion_steps": 3}, {"timestep: 200 ≠ 100": {"timestep": 100}}),
        (
            "roundtrip",
            {"timestep": 5000, "prompt": "", "inversion_steps": 3, "noise_seed": 3},
            {"method: roundtrip ≠ dire": {"method": "dire"}},
        ),
    ],
)
def test_what_moves_no_value_is_not_part_of_a_cache(
    method: str,
    without_effect: dict[str, Any],
    differences: dict[str, dict[str, Any]],
    packed: Dataset,
    run: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"method": method, "shard": 1, **METHODS[method]}
    assert run(**settings) == 0
    assert run(**{**settings, **without_effect}) == 0
    for message, changes in differences.items():
        assert run(**{**settings, **changes}) == 1
        assert message in capsys.readouterr().err


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Images that each part of the model has seen, with the fill of short batches; −1 for a part that is not loaded."""
    counts = dict.fromkeys(("unet", "encoder", "decoder"), 0)
    load = StableDiffusion.__init__

    def load_and_count(self: StableDiffusion, *args: Any, **settings: Any) -> None:
        load(self, *args, **settings)
        for name, part in (("unet", self.network), ("encoder", self.vae.encoder), ("decoder", self.vae.decoder)):
            if part is None:
                counts[name] = -1
                continue

            def count(_: object, args: tuple[Tensor, ...], name: str = name) -> None:
                counts[name] += len(args[0])

            part.register_forward_pre_hook(count)

    monkeypatch.setattr(StableDiffusion, "__init__", load_and_count)
    return counts


@pytest.mark.parametrize(
    ("method", "words", "unet", "decoder"),
    [
        ("lare", "e = 2", 2, 0),
        ("dire", "dire, 2 + 2 steps", 4, 1),
        ("one_step", "one_step, e = 2", 2, 2),
        ("roundtrip", "roundtrip", 0, 1),
    ],
)
def test_models_are_called_as_often_as_the_plan_says(
    method: str,
    words: str,
    unet: int,
    decoder: int,
    models: dict[str, Path],
    run: Run,
    tmp_path: Path,
    calls: dict[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    pack(tmp_path / "data", [0, 1, 2])
    assert run(method=method, batch_size=3, inversion_steps=2) == 0
    assert calls == {"unet": 3 * unet or (0 if method != "roundtrip" else -1), "encoder": 3, "decoder": 3 * decoder}
    parts = count_macs_by_part(ModelFolder.open(str(models["sd"])), 64)
    gmac = (parts["vae_encoder"] + unet * parts["unet"] + decoder * parts["vae_decoder"]) / 1e9
    timestep = "t = 200, " if method in ("lare", "one_step") else ""
    assert f"3 images, {words}, {gmac:.3g} GMAC each; 64 px, {timestep}fp32 on cpu" in caplog.text


@pytest.mark.parametrize("name", get_args(MethodName))
def test_a_method_calls_what_it_says_it_needs(name: MethodName, models: dict[str, Path]) -> None:
    config = ExtractConfig(data="", cache="", method=name, image_size=64)
    method = make_method(config, ModelFolder.open(str(models["sd"])))
    calls, needs = method.count_calls(), config.needs
    assert (calls.unet > 0, calls.decoder > 0) == (needs.unet, needs.decoder)
    assert ("noise_seed" in method.identity(config.variants[0])) == needs.noise == (config.variants != [NO_DRAWS])
    assert NEEDS.keys() == ALL_METHODS.keys() == set(get_args(MethodName))


@pytest.mark.parametrize("model", ["sd", "tiny_vae"])
def test_decoding_is_counted_without_weights(models: dict[str, Path], model: str) -> None:
    folder = ModelFolder.open(str(models[model]), with_unet=False)
    loaded = StableDiffusion(folder, None, "fp32", torch.device("cpu"), with_decoder=True)
    images = torch.zeros(1, 3, 64, 64)
    measured = macs_of_run(lambda: loaded.decode(loaded.encode(images, None)))
    assert count_macs(folder, 64, 0, 1) == measured > count_macs(folder, 64, 0) > 0


def test_a_round_trip_needs_nothing_but_the_autoencoder(
    models: dict[str, Path], packed: Dataset, run: Run, tmp_path: Path
) -> None:
    assert run(method="roundtrip") == 0
    expected = read_maps(tmp_path / "cache")
    shutil.copytree(models["sd"] / "vae", tmp_path / "alone" / "vae")
    for name, settings in {
        "model": {"model": tmp_path / "alone"},
        "its own folder": {"model": tmp_path / "alone" / "vae"},
        "vae": {"model": "nobody/no-model", "vae": tmp_path / "alone"},
    }.items():
        assert run(method="roundtrip", cache=tmp_path / name, **settings) == 0
        assert open_cache(tmp_path / name).fingerprint == open_cache(tmp_path / "cache").fingerprint
        assert_same_maps(expected, read_maps(tmp_path / name))


def test_a_sweep_of_one_step_equals_runs_of_their_own(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(method="one_step", timesteps="[100,300]", ensemble_sizes="[1,2]") == 0
    for timestep, size in ((100, 2), (300, 1)):
        alone, swept = tmp_path / f"alone-{timestep}-{size}", tmp_path / "cache" / f"t{timestep}-e{size}"
        assert run(method="one_step", cache=alone, timestep=timestep, ensemble_size=size) == 0
        assert_same_maps(read_maps(alone), read_maps(swept))
        assert open_cache(alone).fingerprint == open_cache(swept).fingerprint


@pytest.mark.parametrize("model", ["sd", "tiny_vae"])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_finite_is_made_again_in_fp32(
    method: str, model: str, models: dict[str, Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_one_black(tmp_path / "data")
    settings = {"method": method, "model": models[model], **METHODS[method]}
    assert run(cache=tmp_path / "fp32", **settings) == 0
    # AutoencoderTiny's decoder makes finite pixels of infinite latents: they are to be noticed all the same.
    break_images(monkeypatch, also_in_fp32=False)
    assert run(compute_dtype="bf16", **settings) == 0
    shard = open_cache(tmp_path / "cache").read("train-000000.zarr.zip")
    assert shard.status.tolist() == [0, 0, 0, Status.OK_AFTER_FP32]
    key, exact = shard.keys[3], read_maps(tmp_path / "fp32")
    # In an even picture the models' normalisation amplifies rounding; bf16 would be a hundred times further away.
    assert_same_maps({key: exact[key]}, {key: shard.lare[3]}, tolerance=3e-4)
    for key, lare in zip(shard.keys[:3], shard.lare, strict=False):
        assert not np.array_equal(lare, exact[key])
        np.testing.assert_allclose(lare.mean(), exact[key].mean(), rtol=0.05)


def test_what_is_not_finite_in_fp32_is_rejected(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_one_black(tmp_path / "data")
    break_images(monkeypatch, also_in_fp32=True)
    assert run(method="roundtrip") == 3
    shard = open_cache(tmp_path / "cache").read("train-000000.zarr.zip")
    assert shard.status.tolist() == [0, 0, 0, Status.NON_FINITE]
    assert np.isnan(shard.lare[3]).all() and np.isfinite(shard.lare[:3]).all()


def test_stage_2_reads_a_dire_cache(run: Run, tmp_path: Path) -> None:
    dataset = pack_broken(tmp_path / "data")
    assert run(method="dire", inversion_steps=1, stored_dtype="float16") == 3
    cache = open_cache(tmp_path / "cache")
    datamodule = module(dataset, cache, crop_px=56, batch_size=4, flip=False)
    assert datamodule.map_channels == 3
    batches = list(datamodule.train_dataloader())
    assert [tuple(batch["lare"].shape) for batch in batches] == [(4, 3, 7, 7)] * 4
    readings = compute_readings(dataset.folder, cache.folder, "train")["mean_lare"]
    ok = [key for key, lare in read_maps(cache.folder).items() if np.isfinite(lare).all()]
    assert readings["key"].to_pylist() == ok and len(ok) == 18
    means = [-read_maps(cache.folder)[key].astype(np.float64).mean() for key in ok]
    np.testing.assert_allclose(readings["score"].to_numpy(), means, rtol=1e-6)
