"""Maps of every family: what its own pipeline and network give by hand from our noise, and what is refused."""

import gc
import inspect
import io
import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cache_schema import Dataset, open_cache, read_image_bytes
from extract.models import latent_diffusion
from extract.models.costs import count_macs_by_part
from extract.models.folder import ModelFolder
from extract.models.registry import load_family
from extract.models.schedule import load_noising
from extract.noise import sample_noise
from extract.run.fingerprint import ModelSource, config_of
from extract.run.probe import Probe
from tests.extract.conftest import Run, assert_same_maps, pack, read_maps
from tests.families import SAVE
from tests.models import macs_of_run

SIGMA = 0.363732
"""That of Stable Diffusion 1.5's ᾱ at t = 200, 0.7537: sqrt(1 − ᾱ) / (sqrt(ᾱ) + sqrt(1 − ᾱ))."""
Predict = Callable[[Tensor], Tensor]


def by_hand(name: str, folder: Path) -> tuple[Any, Predict]:
    """A family's pipeline as diffusers loads it, and one prediction as its own loop makes it, for 64 px."""
    index = json.loads((folder / "model_index.json").read_text())
    absent = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3_without_t5" else {}
    pipe = getattr(diffusers, index["_class_name"]).from_pretrained(folder, low_cpu_mem_usage=False, **absent)
    text = {"prompt": "a photo", "device": "cpu", "num_images_per_prompt": 1}
    if name == "sdxl":
        embeds, _, pooled, _ = pipe.encode_prompt(**text, do_classifier_free_guidance=False)
        added = {
            "text_embeds": pooled,
            "time_ids": pipe._get_add_time_ids((64, 64), (0, 0), (64, 64), torch.float32, 16),
        }
        return pipe, lambda z: pipe.unet(z, 200, embeds, added_cond_kwargs=added).sample
    if name.startswith("pixart"):
        embeds, mask, *_ = pipe.encode_prompt("a photo", do_classifier_free_guidance=False)
        sizes = {"resolution": torch.tensor([[64.0, 64.0]]), "aspect_ratio": torch.tensor([[1.0]])}
        added = sizes if name == "pixart_alpha" else {"resolution": None, "aspect_ratio": None}
        condition = {"encoder_hidden_states": embeds, "encoder_attention_mask": mask, "added_cond_kwargs": added}
        return pipe, lambda z: pipe.transformer(z, timestep=torch.tensor([200]), **condition).sample.chunk(2, dim=1)[0]
    if name.startswith("sd3"):
        embeds, _, pooled, _ = pipe.encode_prompt(
            **text, prompt_2=None, prompt_3=None, do_classifier_free_guidance=False
        )
        condition = {"encoder_hidden_states": embeds, "pooled_projections": pooled}
        return pipe, lambda z: pipe.transformer(z, timestep=torch.tensor([SIGMA * 1000]), **condition).sample
    if name.startswith("flux"):
        embeds, pooled, text_ids = pipe.encode_prompt("a photo", "a photo")
        condition = {"encoder_hidden_states": embeds, "pooled_projections": pooled, "txt_ids": text_ids}
        condition["img_ids"] = pipe._prepare_latent_image_ids(1, 4, 4, "cpu", torch.float32)
        condition["guidance"] = torch.tensor([3.5]) if name == "flux_dev" else None

        def predict(z: Tensor) -> Tensor:
            packed = pipe._pack_latents(z, 1, 16, 8, 8)
            velocity = pipe.transformer(packed, timestep=torch.tensor([SIGMA]), **condition).sample
            return pipe._unpack_latents(velocity, 64, 64, 8)

        return pipe, predict
    if name == "sana":
        usual = inspect.signature(diffusers.SanaPipeline.__call__).parameters["complex_human_instruction"].default
        embeds, mask, *_ = pipe.encode_prompt(
            "a photo", do_classifier_free_guidance=False, complex_human_instruction=usual
        )
        condition = {"encoder_hidden_states": embeds, "encoder_attention_mask": mask}
        return pipe, lambda z: pipe.transformer(z, timestep=torch.tensor([SIGMA * 1000]), **condition).sample
    if name == "dit":
        condition = {"timestep": torch.tensor([200]), "class_labels": torch.tensor([7])}
        return pipe, lambda z: pipe.transformer(z, **condition).sample.chunk(2, dim=1)[0]
    labels = torch.tensor([5]) if name == "pixels_of_classes" else None
    return pipe, lambda z: pipe.unet(z, 200, labels).sample


def pictures(dataset: Dataset) -> Iterator[tuple[str, Tensor]]:
    """Key and pixels, (1, 3, 64, 64) in [-1, 1], of every image."""
    for row in dataset.table(["key", "tar", "offset", "size"]).to_pylist():
        data = read_image_bytes(dataset.folder / row["tar"], row["offset"], row["size"])
        image = Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
        yield row["key"], torch.from_numpy(np.asarray(image) / 127.5 - 1).permute(2, 0, 1)[None].float()


@torch.no_grad()
def maps_by_hand(name: str, folder: Path, dataset: Dataset, num_draws: int = 2) -> dict[str, np.ndarray]:
    """The formulas written out, one image and one draw at a time."""
    pipe, predict = by_hand(name, folder)
    is_flow = name.startswith(("sd3", "flux", "sana"))
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2 if name == "sdxl" else np.linspace(0.0001, 0.02, 1000)
    alpha = float(np.prod(1 - betas[:201]))
    signal, sigma = (1 - SIGMA, SIGMA) if is_flow else (alpha**0.5, (1 - alpha) ** 0.5)
    maps = {}
    for key, pixels in pictures(dataset):
        latents = pixels
        vae = getattr(pipe, "vae", None)
        if name == "sana":
            latents = vae.encode(pixels).latent * vae.config.scaling_factor
        elif vae is not None:
            posterior = vae.encode(pixels).latent_dist
            draw = torch.from_numpy(sample_noise(0, key, -1, tuple(posterior.mean.shape[1:])))
            latents = posterior.mean + posterior.std * draw
            latents = (latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor
        errors = []
        for number in range(num_draws):
            noise = torch.from_numpy(sample_noise(0, key, number, tuple(latents.shape[1:])))[None]
            target = noise - latents if is_flow else noise
            errors.append((target - predict(signal * latents + sigma * noise)) ** 2)
        lare = torch.cat(errors).mean(0)
        if vae is None:
            lare = lare.reshape(3, 8, 8, 8, 8).mean(dim=(2, 4))
        maps[key] = lare.numpy()
    return maps


@pytest.mark.parametrize("name", SAVE)
def test_stored_maps_are_what_the_pipeline_gives_by_hand(
    name: str, families: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    dataset = pack(tmp_path / "data", [0, 1, 2])
    assert run(model=families(name), batch_size=2) == 0
    assert_same_maps(maps_by_hand(name, families(name), dataset), read_maps(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["sdxl", "pixart_alpha", "sd3", "flux_dev", "sana", "pixels_of_classes"])
def test_a_map_depends_on_neither_batch_nor_order_nor_tar_nor_worker(
    name: str, families: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    pack(tmp_path / "data", [0, 1, 2, 3], max_rows=3)
    pack(tmp_path / "turned", [3, 1, 0, 2], max_rows=2)
    assert run(model=families(name), batch_size=3) == 0
    assert run(model=families(name), batch_size=1, data=tmp_path / "turned", cache=tmp_path / "b", num_workers=2) == 0
    assert_same_maps(read_maps(tmp_path / "cache"), read_maps(tmp_path / "b"))


# What is in the fingerprint


def fields_of(run: Run, tmp_path: Path, model: Path, **settings: Any) -> dict[str, Any]:
    """Fingerprint fields of a cache of one image."""
    if not (tmp_path / "data").exists():
        pack(tmp_path / "data", [0])
    cache = tmp_path / "-".join(map(str, ("cache", *settings.values())))
    assert run(model=model, cache=cache, **settings) == 0
    return dict(open_cache(cache).fields)


def test_a_flow_model_has_a_sigma_and_no_timestep(families: Callable[[str], Path], run: Run, tmp_path: Path) -> None:
    usual = fields_of(run, tmp_path, families("sd3"))
    assert usual["sigma"] == "0.363732" and "timestep" not in usual and usual["prediction_type"] == "flow"
    assert usual["model_family"] == "stable_diffusion_3" and "alphas_cumprod_sha256" not in usual
    assert "guidance" not in usual and "map_cell" not in usual and "error_space" not in usual
    assert fields_of(run, tmp_path, families("sd3"), sigma=0.363732) == usual
    assert fields_of(run, tmp_path, families("sd3"), snr_of_timestep=200) == usual
    other = fields_of(run, tmp_path, families("sd3"), snr_of_timestep=500)
    assert {name for name in usual if other[name] != usual[name]} == {"sigma"} and float(other["sigma"]) > 0.5


def test_equal_noise_of_another_schedule_is_the_nearest_timestep(
    families: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    fields = fields_of(run, tmp_path, families("pixart_sigma"), snr_of_timestep=200)
    alphas = np.cumprod(1 - np.linspace(0.0001, 0.02, 1000))
    wanted = np.prod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000)[:201] ** 2)
    nearest = int(np.argmin(np.abs(np.log(alphas / (1 - alphas)) - np.log(wanted / (1 - wanted)))))
    assert fields["timestep"] == nearest != 200 and "snr_of_timestep" not in fields


def test_guidance_is_told_where_the_network_takes_it(
    families: Callable[[str], Path], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fields_of(run, tmp_path, families("flux_dev"))["guidance"] == "3.5"
    assert fields_of(run, tmp_path, families("flux_dev"), guidance=1)["guidance"] == "1"
    three, one = (read_maps(tmp_path / name) for name in ("cache", "cache-1"))
    assert not any(np.allclose(three[key], one[key], rtol=1e-6) for key in three)
    for name in ("flux_schnell", "sdxl"):
        with pytest.raises(SystemExit):
            run(model=families(name), guidance=1)
        assert "guidance is 1" in capsys.readouterr().err


def test_pixels_are_pooled_to_cells(families: Callable[[str], Path], run: Run, tmp_path: Path) -> None:
    assert fields_of(run, tmp_path, families("pixels"))["map_cell"] == 8
    fields = fields_of(run, tmp_path, families("pixels"), map_cell=1)
    assert "map_cell" not in fields and fields["latent_rule"] == "pixels" and fields["vae_sha256"] == "none"
    (whole,), (pooled,) = (read_maps(tmp_path / name).values() for name in ("cache-1", "cache"))
    assert whole.shape == (3, 64, 64)
    np.testing.assert_allclose(pooled, whole.reshape(3, 8, 8, 8, 8).mean(axis=(2, 4)), rtol=1e-5)


def test_the_class_that_a_network_of_classes_is_told_is_in_the_fingerprint(
    families: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    assert fields_of(run, tmp_path, families("pixels_of_classes"))["class_label"] == 5
    assert fields_of(run, tmp_path, families("dit"), batch_size=1)["class_label"] == 7


@pytest.mark.parametrize(("name", "factor"), [("sd3", (1 - SIGMA) ** 2), ("sdxl", 1.0)])
def test_errors_of_the_noise_follow_from_those_of_the_velocity(
    name: str, factor: float, families: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    fields_of(run, tmp_path, families(name))
    assert fields_of(run, tmp_path, families(name), error_space="epsilon")["error_space"] == "epsilon"
    (native,), (epsilon,) = (read_maps(tmp_path / cache).values() for cache in ("cache", "cache-epsilon"))
    np.testing.assert_allclose(epsilon, native * factor, rtol=1e-5)


def test_a_sweep_over_sigmas_has_a_cache_each(families: Callable[[str], Path], run: Run, tmp_path: Path) -> None:
    pack(tmp_path / "data", [0, 1])
    assert run(model=families("sd3"), sigmas="[0.1,0.5]") == 0
    assert run(model=families("sd3"), sigma=0.5, cache=tmp_path / "alone") == 0
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["s0.1-e2", "s0.5-e2"]
    assert_same_maps(read_maps(tmp_path / "cache" / "s0.5-e2"), read_maps(tmp_path / "alone"))
    assert open_cache(tmp_path / "cache" / "s0.5-e2").fingerprint == open_cache(tmp_path / "alone").fingerprint


def test_text_encoders_compute_in_fp32_unless_told(families: Callable[[str], Path], run: Run, tmp_path: Path) -> None:
    usual = fields_of(run, tmp_path, families("pixart_sigma"))
    assert "text_dtype" not in usual
    assert fields_of(run, tmp_path, families("pixart_sigma"), text_dtype="bf16") == usual | {"text_dtype": "bf16"}
    (whole,), (half,) = (read_maps(tmp_path / name).values() for name in ("cache", "cache-bf16"))
    assert 0 < np.abs(whole - half).max() < 0.05 * np.abs(whole).max()
    assert "text_dtype" not in fields_of(run, tmp_path / "dit", families("dit"), text_dtype="bf16")


@torch.no_grad()
def test_a_text_in_bf16_is_that_of_the_pipeline_in_bf16(families: Callable[[str], Path]) -> None:
    pipe = diffusers.PixArtSigmaPipeline.from_pretrained(families("pixart_sigma"), low_cpu_mem_usage=False)
    expected, mask, *_ = pipe.to(torch.bfloat16).encode_prompt("a photo", do_classifier_free_guidance=False)
    folder = ModelFolder.open(str(families("pixart_sigma")))
    how = folder, load_noising(folder), "fp32", torch.device("cpu")
    half, whole = (load_family(*how, text_dtype=name).condition(["a photo"]) for name in ("bf16", "fp32"))
    assert half is not None and whole is not None
    assert half.embeds.dtype == torch.float32 and torch.equal(half.mask, mask.float())
    np.testing.assert_allclose(half.embeds, expected.float(), atol=1e-6)
    assert not np.allclose(half.embeds, whole.embeds, atol=1e-4)


# What is counted, loaded and freed


@pytest.mark.parametrize("name", SAVE)
def test_operations_are_counted_without_weights(name: str, families: Callable[[str], Path]) -> None:
    folder = ModelFolder.open(str(families(name)))
    model = load_family(
        folder, load_noising(folder), "fp32", torch.device("cpu"), guidance=1.0 if folder.takes_guidance else None
    )
    latents, condition = torch.zeros(1, *folder.latent_shape(64)), model.condition(["a photo"])
    level = model.noise_level(0.5 if folder.is_flow else 200)
    counted = count_macs_by_part(ModelFolder.open(str(families(name)), with_weights=False), 64)
    assert counted["unet"] == macs_of_run(lambda: model.predict(latents, level, condition)) > 0
    assert counted["vae_encoder"] == macs_of_run(lambda: model.encode(torch.zeros(1, 3, 64, 64), None))


def test_text_encoders_are_loaded_once_before_the_network_and_freed(
    families: Callable[[str], Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "data", [0, 1, 2], max_rows=1)
    loaded: list[tuple[str, int]] = []
    alive: dict[str, Any] = {}
    load = latent_diffusion.load_part

    def load_and_watch(part: Any, dtype: torch.dtype) -> Any:
        gc.collect()
        loaded.append((part.folder.name, sum(ref() is not None for ref in alive.values())))
        network = load(part, dtype)
        if part.folder.name.startswith("text"):
            alive[part.folder.name] = weakref.ref(network)
        return network

    monkeypatch.setattr(latent_diffusion, "load_part", load_and_watch)
    assert run(model=families("sd3")) == 0
    names = ["text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "vae"]
    assert loaded == [(name, 0) for name in names]


@pytest.mark.parametrize("name", ["sdxl", "sd3", "flux_dev"])
def test_an_autoencoder_never_runs_in_fp16(name: str, families: Callable[[str], Path]) -> None:
    folder = ModelFolder.open(str(families(name)))
    model = load_family(folder, load_noising(folder), "fp16", torch.device("cpu"))
    assert (model.network.dtype, model.vae.dtype) == (torch.float16, torch.float32)


# What is read back


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sd3", {"sigma": 0.5, "error_space": "epsilon"}),
        ("flux_dev", {"guidance": 1.5}),
        ("pixels_of_classes", {"map_cell": 4}),
        ("dit", {"snr_of_timestep": 100}),
        ("pixart_alpha", {"text_dtype": "bf16"}),
    ],
)
def test_settings_are_read_back_from_a_cache_for_single_pictures(
    name: str, settings: dict[str, Any], families: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    fields = fields_of(run, tmp_path, families(name), **settings)
    probe = Probe.prepare(fields, ModelSource(str(families(name))))
    assert dict(probe.fields) == fields


@pytest.mark.parametrize(
    ("field", "value"), [("sigma", "nan"), ("sigma", 1), ("sigma", "1.5"), ("guidance", "1e300"), ("map_cell", 10**9)]
)
def test_a_stranger_s_fields_are_held_to_bounds(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} "):
        config_of({"method": "lare", field: value}, ModelSource("model"))
