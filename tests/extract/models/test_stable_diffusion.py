from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDPMScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from extract.config import ComputeDtype
from extract.lare import squared_errors
from extract.models.costs import count_macs
from extract.models.folder import ModelFolder
from extract.models.schedule import alphas_cumprod_sha256, load_noising
from extract.models.stable_diffusion import StableDiffusion
from tests.models import LATENT_SHAPE

CPU = torch.device("cpu")


def load(folder: Path, compute_dtype: ComputeDtype = "fp32") -> StableDiffusion:
    opened = ModelFolder.open(str(folder))
    return StableDiffusion(opened, load_noising(opened, [200]), compute_dtype, CPU)


def images(b: int = 2) -> torch.Tensor:
    return torch.rand(b, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_latents_are_a_scaled_posterior_sample(models: dict[str, Path]) -> None:
    noise = torch.randn(2, *LATENT_SHAPE, generator=torch.Generator().manual_seed(1))
    vae = AutoencoderKL.from_pretrained(models["sd"] / "vae", low_cpu_mem_usage=False)
    with torch.no_grad():
        posterior = vae.encode(images()).latent_dist
        expected = (posterior.mean + torch.exp(0.5 * posterior.logvar) * noise) * 0.18215
    torch.testing.assert_close(load(models["sd"]).encode(images(), noise), expected)


def test_a_shift_is_taken_off_before_scaling(models: dict[str, Path]) -> None:
    diffusion, noise = load(models["sd"]), torch.zeros(2, *LATENT_SHAPE)
    plain = diffusion.encode(images(), noise)
    diffusion.vae.register_to_config(shift_factor=0.5)
    torch.testing.assert_close(diffusion.encode(images(), noise), plain - 0.5 * 0.18215)


def test_an_autoencoder_tiny_has_no_posterior(models: dict[str, Path]) -> None:
    vae = AutoencoderTiny.from_pretrained(models["tiny_vae"] / "vae", low_cpu_mem_usage=False)
    with torch.no_grad():
        expected = vae.encode(images()).latents
    noise = torch.randn(2, *LATENT_SHAPE)
    torch.testing.assert_close(load(models["tiny_vae"]).encode(images(), noise), expected)


def test_a_prompt_becomes_the_text_encoders_last_hidden_state(models: dict[str, Path]) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(models["sd"] / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(models["sd"] / "text_encoder")
    ids = tokenizer("a photo", padding="max_length", max_length=16, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = encoder(ids).last_hidden_state
    embeds = load(models["sd"]).condition(["a photo"])
    assert embeds is not None and embeds.embeds.shape == (1, 16, 16)
    torch.testing.assert_close(embeds.embeds, expected)


def test_a_long_prompt_is_cut_off(models: dict[str, Path]) -> None:
    embeds = load(models["sd"]).condition(["a photo of a rose " * 50])
    assert embeds is not None and embeds.embeds.shape == (1, 16, 16)


def test_the_scheduler_is_always_ddpm_with_the_folders_schedule(models: dict[str, Path]) -> None:
    scheduler = load_noising(ModelFolder.open(str(models["sd_v"])), [200]).scheduler
    assert isinstance(scheduler, DDPMScheduler)
    assert scheduler.config.prediction_type == "v_prediction"
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    np.testing.assert_allclose(scheduler.alphas_cumprod, np.cumprod(1 - betas), rtol=1e-4)


def test_the_schedules_hash_moves_with_the_schedule_only() -> None:
    usual = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    other = DDPMScheduler(beta_start=0.00085, beta_end=0.0121, beta_schedule="scaled_linear")
    last_bit = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    last_bit.alphas_cumprod = torch.nextafter(usual.alphas_cumprod, torch.tensor(2.0))
    assert alphas_cumprod_sha256(usual) == alphas_cumprod_sha256(last_bit) != alphas_cumprod_sha256(other)


def test_prediction_type_and_timestep_are_checked(models: dict[str, Path]) -> None:
    folder = ModelFolder.open(str(models["sd"]))
    with pytest.raises(ValueError, match=r"timestep is 1000: the model has 0 … 999"):
        load_noising(folder, [200, 1000])
    folder.scheduler_config["prediction_type"] = "sample"
    with pytest.raises(ValueError, match=r"prediction type is 'sample': supported are \('epsilon', 'v_prediction'\)"):
        load_noising(folder, [200])


@pytest.mark.parametrize(
    ("compute_dtype", "unet", "vae"),
    [
        ("fp32", torch.float32, torch.float32),
        ("bf16", torch.bfloat16, torch.bfloat16),
        ("fp16", torch.float16, torch.float32),
        ("bf16/fp32", torch.bfloat16, torch.float32),
        ("fp16/tf32", torch.float16, torch.float32),
        ("tf32/fp32", torch.float32, torch.float32),
    ],
)
def test_compute_dtype(
    models: dict[str, Path], compute_dtype: ComputeDtype, unet: torch.dtype, vae: torch.dtype
) -> None:
    diffusion = load(models["sd"], compute_dtype)
    assert (diffusion.network.dtype, diffusion.vae.dtype) == (unet, vae)
    assert diffusion.encode(images(), torch.zeros(2, *LATENT_SHAPE)).dtype == torch.float32
    assert diffusion.in_fp32.network.dtype == torch.float32


def test_tf32_is_off_in_fp32_and_left_as_it_was(models: dict[str, Path]) -> None:
    seen = {}
    for compute_dtype in ("fp32", "tf32"):
        diffusion = load(models["sd"], compute_dtype)
        diffusion.network.register_forward_pre_hook(
            lambda *_, name=compute_dtype: seen.update(
                {name: (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)}
            )
        )
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        noise = torch.zeros(1, *LATENT_SHAPE)
        latents = diffusion.encode(images(1), noise)
        squared_errors(diffusion, latents, noise[None], 200, diffusion.condition([""]))
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert seen == {"fp32": (False, False), "tf32": (True, True)}


def test_a_pair_has_tf32_in_the_part_that_is_to_have_it(models: dict[str, Path]) -> None:
    for compute_dtype, expected in (("bf16/tf32", [True, False]), ("tf32/fp32", [False, True])):
        diffusion, seen = load(models["sd"], compute_dtype), list[bool]()
        for part in (diffusion.vae.encoder, diffusion.network):
            part.register_forward_pre_hook(lambda *_, seen=seen: seen.append(torch.backends.cuda.matmul.allow_tf32))
        noise = torch.zeros(1, *LATENT_SHAPE)
        squared_errors(diffusion, diffusion.encode(images(1), noise), noise[None], 200, diffusion.condition([""]))
        assert seen == expected


def test_macs_grow_with_the_draws_by_the_unets(models: dict[str, Path]) -> None:
    folder = ModelFolder.open(str(models["sd"]))
    one, two, three = (count_macs(folder, 64, draws) for draws in (1, 2, 3))
    assert one > three - two == two - one > 0
    # The encoder's first convolution alone: 3 → 8 channels, 3 × 3, at every pixel.
    assert one - (two - one) > 3 * 8 * 9 * 64 * 64
