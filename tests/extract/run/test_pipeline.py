"""Maps of whole runs through the command line: what they are, and what they do not depend on."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from cache_schema import Dataset, Status, check_join, open_cache, write_dataset
from extract.models.stable_diffusion import StableDiffusion
from extract.run.methods import LareMaps
from tests.extract.conftest import Run, assert_same_maps, make_images, pack, read_maps
from tests.models import LATENT_SHAPE
from tests.samples import encode_png, make_sample


def draw(key: str, number: int) -> torch.Tensor:
    digest = hashlib.sha256(f"lare/1|0|{number}|{key}".encode()).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return torch.from_numpy(rng.standard_normal(LATENT_SHAPE, dtype=np.float32))


@torch.no_grad()
def maps_by_formula(model: Path, folder: Path, dataset: Dataset, num_draws: int) -> dict[str, np.ndarray]:
    """The paper's formulas written out, one image and one draw at a time."""
    vae = AutoencoderKL.from_pretrained(model / "vae", low_cpu_mem_usage=False)
    unet = UNet2DConditionModel.from_pretrained(model / "unet", low_cpu_mem_usage=False)
    is_v = DDPMScheduler.from_pretrained(model / "scheduler").config.prediction_type == "v_prediction"
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    ids = tokenizer("a photo", padding="max_length", max_length=16, return_tensors="pt").input_ids
    text = CLIPTextModel.from_pretrained(model / "text_encoder")(ids).last_hidden_state
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alpha = float(np.prod(1 - betas[:201]))

    maps = {}
    for row in dataset.table(["key", "tar", "offset", "size"]).to_pylist():
        with (folder / row["tar"]).open("rb") as f:
            f.seek(row["offset"])
            picture = Image.open(io.BytesIO(f.read(row["size"]))).convert("RGB")
        image = picture.resize((64, 64), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(image) / 127.5 - 1).permute(2, 0, 1)[None].float()
        posterior = vae.encode(pixels).latent_dist
        latents = 0.18215 * (posterior.mean + posterior.std * draw(row["key"], -1))
        errors = []
        for number in range(num_draws):
            noise = draw(row["key"], number)[None]
            prediction = unet(alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise, 200, text).sample
            target = alpha**0.5 * noise - (1 - alpha) ** 0.5 * latents if is_v else noise
            errors.append((target - prediction) ** 2)
        maps[row["key"]] = torch.cat(errors).mean(0).numpy()
    return maps


@pytest.mark.parametrize("model", ["sd", "sd_v"])
def test_stored_maps_equal_the_formula(
    model: str, models: dict[str, Path], packed: Dataset, run: Run, tmp_path: Path
) -> None:
    assert run(model=models[model], ensemble_size=3) == 0
    assert_same_maps(maps_by_formula(models[model], packed.folder, packed, 3), read_maps(tmp_path / "cache"))


@pytest.fixture
def expected(packed: Dataset, run: Run, tmp_path: Path) -> dict[str, np.ndarray]:
    """Maps of a usual run over the seven pictures."""
    assert run() == 0
    return read_maps(tmp_path / "cache")


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1},
        {"batch_size": 7},
        {"num_workers": 2, "batch_size": 2},
        {"channels_last": "false"},
    ],
    ids=str,
)
def test_a_map_does_not_depend_on_batch_or_workers(
    settings: dict[str, object], expected: dict[str, np.ndarray], run: Run, tmp_path: Path
) -> None:
    assert run(cache=tmp_path / "other", **settings) == 0
    assert_same_maps(expected, read_maps(tmp_path / "other"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "num_models"),
    # Encoder and UNet, and the decoder of the methods that have one.
    [("lare", 2), ("dire", 3), ("one_step", 3), ("roundtrip", 2)],
)
def test_compiled_models_see_one_shape(
    method: str, num_models: int, packed: Dataset, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"method": method, "inversion_steps": 2}
    assert run(**settings) == 0
    shapes = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        shapes.append([tuple(i.shape) for i in inputs if isinstance(i, torch.Tensor)])
        return graph.forward

    # Traced as usual, but not turned into machine code, which takes minutes on a CPU.
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *a, **kw: compile_module(*a, **kw, backend=backend))
    assert run(cache=tmp_path / "other", compile="true", batch_size=3, **settings) == 0
    tolerance = 1e-4 if method == "dire" else 1e-5
    assert_same_maps(read_maps(tmp_path / "cache"), read_maps(tmp_path / "other"), tolerance=tolerance)
    assert len(shapes) == num_models  # once each, although the tars of five and two rows end in short batches


def test_a_map_does_not_depend_on_order_or_tar(expected: dict[str, np.ndarray], run: Run, tmp_path: Path) -> None:
    pack(tmp_path / "reordered", [6, 2, 5, 0, 1, 4, 3], max_rows=3)
    assert run(data=tmp_path / "reordered", cache=tmp_path / "other", batch_size=2) == 0
    assert_same_maps(expected, read_maps(tmp_path / "other"))


def test_a_map_does_not_depend_on_its_neighbours(expected: dict[str, np.ndarray], run: Run, tmp_path: Path) -> None:
    pack(tmp_path / "alone", [4])
    assert run(data=tmp_path / "alone", cache=tmp_path / "other") == 0
    (key,) = read_maps(tmp_path / "other")
    assert_same_maps({key: expected[key]}, read_maps(tmp_path / "other"))


def test_stores_join_their_tars(expected: dict[str, np.ndarray], packed: Dataset, tmp_path: Path) -> None:
    cache = open_cache(tmp_path / "cache")
    assert cache.shards() == ["train-000000.zarr.zip", "train-000001.zarr.zip"]
    for n, name in enumerate(cache.shards()):
        check_join(cache.read(name), packed.rows(n), packed.tars[n])
    attributes = cache.attributes(cache.shards()[0])
    assert attributes["tar"] == "train-000000.tar" and attributes["reasons"] == {}
    assert attributes["provenance"]["device"] == "cpu"
    assert attributes["provenance"]["settings"]["batch_size"] == 4
    assert torch.__version__.startswith(attributes["provenance"]["versions"]["torch"])
    assert attributes["seconds"] > 0
    assert cache.fields["timestep"] == 200 and cache.fields["prompt_policy"] == "fixed: 'a photo'"


def test_half_precision_storage_is_near(expected: dict[str, np.ndarray], run: Run, tmp_path: Path) -> None:
    assert run(cache=tmp_path / "other", stored_dtype="float16", mantissa_bits=7) == 0
    for key, lare in read_maps(tmp_path / "other").items():
        assert lare.dtype == np.float16
        np.testing.assert_allclose(lare, expected[key], rtol=2**-8, atol=1e-7)
    fields = open_cache(tmp_path / "other").fields
    assert (fields["stored_dtype"], fields["mantissa_bits"]) == ("float16", 7)


@pytest.mark.parametrize("model", ["unconditional", "tiny_vae"])
def test_other_models(model: str, models: dict[str, Path], packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(model=models[model], batch_size=4) == 0
    assert run(model=models[model], batch_size=1, cache=tmp_path / "other") == 0
    maps = read_maps(tmp_path / "cache")
    assert_same_maps(maps, read_maps(tmp_path / "other"))
    assert all(lare.shape == LATENT_SHAPE and lare.min() >= 0 and lare.max() > 0 for lare in maps.values())
    fields = open_cache(tmp_path / "cache").fields
    assert fields["prompt_policy"] == ("none" if model == "unconditional" else "fixed: 'a photo'")
    assert fields["latent_rule"] == ("deterministic" if model == "tiny_vae" else "posterior sample")


def test_class_names_reach_the_unet(packed: Dataset, run: Run, tmp_path: Path) -> None:
    template = {"prompt_policy": "template", "prompt": "a photo of a {class_name}"}
    pack(tmp_path / "roses", list(range(7)), class_name="rose")
    assert run(data=tmp_path / "roses", cache=tmp_path / "class", **template) == 0
    assert run(data=tmp_path / "roses", cache=tmp_path / "fixed", prompt="a photo of a rose") == 0
    assert run(data=tmp_path / "roses", cache=tmp_path / "other") == 0
    maps = read_maps(tmp_path / "class")
    assert_same_maps(maps, read_maps(tmp_path / "fixed"))
    assert not any(np.allclose(lare, read_maps(tmp_path / "other")[key], rtol=1e-6) for key, lare in maps.items())
    texts = "\0".join(["a photo of a rose"] * 5)
    attributes = open_cache(tmp_path / "class").attributes("train-000000.zarr.zip")
    assert attributes["prompts_sha256"] == hashlib.sha256(texts.encode()).hexdigest()
    assert "prompts_sha256" not in open_cache(tmp_path / "fixed").attributes("train-000000.zarr.zip")


def pack_broken(folder: Path) -> Dataset:
    """Twenty pictures in one tar; row 3 is no image, row 7 is cut short."""
    images = make_images(20)
    images[3], images[7] = b"not an image", images[7][:200]
    return write_dataset(folder, [make_sample(i, image=image) for i, image in enumerate(images)], {})


def test_a_rejected_image_is_a_nan_row_with_a_reason(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    dataset = pack_broken(tmp_path / "data")
    assert run() == 3
    shard = open_cache(tmp_path / "cache").read("train-000000.zarr.zip")
    check_join(shard, dataset.rows(0), dataset.tars[0])
    rejected = [3, 7]
    assert np.flatnonzero(shard.status).tolist() == rejected
    assert (shard.status[rejected] == Status.UNREADABLE).all()
    assert np.isnan(shard.lare[rejected]).all()
    assert np.isfinite(np.delete(shard.lare, rejected, axis=0)).all()
    assert sorted(shard.attributes["reasons"]) == ["3", "7"]
    assert "cannot identify" in shard.attributes["reasons"]["3"]
    assert "20 images, 2 rejected" in caplog.text
    assert (
        "10.0 % rejected, 5.0 % allowed (max_reject_fraction). The first is row 3, toy/3%2Epng: cannot" in caplog.text
    )


def test_rejections_within_the_limit_exit_0_and_leave_other_maps_alone(run: Run, tmp_path: Path) -> None:
    pack_broken(tmp_path / "data")
    assert run(max_reject_fraction=0.1) == 0
    pack(tmp_path / "whole", list(range(20)), max_rows=20)
    assert run(data=tmp_path / "whole", cache=tmp_path / "other") == 0
    whole = read_maps(tmp_path / "other")
    good = {key: lare for key, lare in read_maps(tmp_path / "cache").items() if np.isfinite(lare).all()}
    assert len(good) == 18
    assert_same_maps({key: whole[key] for key in good}, good)


def break_images(monkeypatch: pytest.MonkeyPatch, *, also_in_fp32: bool) -> None:
    """Make the latents of dark pictures overflow, as half precision does."""
    encode = StableDiffusion.encode

    def overflowing(self: StableDiffusion, images: torch.Tensor, posterior_noise: torch.Tensor) -> torch.Tensor:
        latents = encode(self, images, posterior_noise)
        if self.compute_dtype != "fp32" or also_in_fp32:
            latents = torch.where((images == -1).flatten(1).all(1)[:, None, None, None], torch.inf, latents)
        return latents

    monkeypatch.setattr(StableDiffusion, "encode", overflowing)


def pack_one_black(folder: Path) -> Dataset:
    images = [*make_images(3), encode_png(np.zeros((64, 64, 3), np.uint8))]
    return write_dataset(folder, [make_sample(i, image=image) for i, image in enumerate(images)], {})


def test_a_map_that_is_not_finite_is_made_again_in_fp32(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_one_black(tmp_path / "data")
    assert run(cache=tmp_path / "fp32") == 0
    break_images(monkeypatch, also_in_fp32=False)
    assert run(compute_dtype="bf16") == 0
    shard = open_cache(tmp_path / "cache").read("train-000000.zarr.zip")
    assert shard.status.tolist() == [0, 0, 0, Status.OK_AFTER_FP32]
    key = shard.keys[3]
    assert_same_maps({key: read_maps(tmp_path / "fp32")[key]}, {key: shard.lare[3]})


@pytest.mark.parametrize("compute_dtype", ["bf16", "fp32"])
def test_a_map_that_is_not_finite_in_fp32_is_rejected(
    compute_dtype: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_one_black(tmp_path / "data")
    break_images(monkeypatch, also_in_fp32=True)
    assert run(compute_dtype=compute_dtype) == 3
    shard = open_cache(tmp_path / "cache").read("train-000000.zarr.zip")
    assert shard.status.tolist() == [0, 0, 0, Status.NON_FINITE]
    assert np.isnan(shard.lare[3]).all()
    assert "not finite in fp32" in shard.attributes["reasons"]["3"]


def test_bf16_is_near_fp32(expected: dict[str, np.ndarray], run: Run, tmp_path: Path) -> None:
    assert run(cache=tmp_path / "other", compute_dtype="bf16") == 0
    for key, lare in read_maps(tmp_path / "other").items():
        assert not np.array_equal(lare, expected[key])
        np.testing.assert_allclose(lare.mean(), expected[key].mean(), rtol=0.05)


def test_a_map_that_overflows_only_when_its_mantissa_is_rounded_is_rejected(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "data", [0, 1, 2])
    compute = LareMaps.compute_maps

    def raise_one(self: LareMaps, *args: Any) -> torch.Tensor:
        maps = compute(self, *args).clone()
        maps[0, 1, 0, 0, 0] = 65504  # float16's largest value; with seven bits it rounds up to infinity
        return maps

    monkeypatch.setattr(LareMaps, "compute_maps", raise_one)
    assert run(cache=tmp_path / "whole", stored_dtype="float16", max_reject_fraction=1) == 0
    assert run(stored_dtype="float16", mantissa_bits=7, max_reject_fraction=1) == 0
    whole, rounded = (open_cache(tmp_path / n).read("train-000000.zarr.zip") for n in ("whole", "cache"))
    assert whole.status.tolist() == [0, 0, 0]
    assert rounded.status.tolist() == [0, Status.NON_FINITE, 0]
    assert "does not fit float16" in rounded.attributes["reasons"]["1"]
