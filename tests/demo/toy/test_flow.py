from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.models.attention_processor import JointAttnProcessor2_0
from safetensors.torch import load_file

from demo.toy.flow import draw_sigmas, train, velocity_loss
from demo.toy.flow_model import FlowConfig, ZeroTokensAsOne, build_pipeline, encode_texts
from demo.toy.training import read_log
from tests.demo.toy.conftest import weights

pytestmark = pytest.mark.usefixtures("saved_and_logged_often")

TINY = FlowConfig(num_layers=2, num_heads=2, head_dim=8, patch_size=2, steps=6, batch_size=4, crops_per_photo=2)
TEXTS = ["a photo of tulips", ""]


@pytest.fixture(scope="module")
def whole(
    sd_folder: Path, photo_folder: Path, saved_and_logged_often: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an uninterrupted training. It is only read."""
    folder = tmp_path_factory.mktemp("whole")
    train(sd_folder, photo_folder, folder, TINY)
    return folder


def test_sittings_end_where_an_uninterrupted_training_does(
    sd_folder: Path, photo_folder: Path, whole: Path, tmp_path: Path
) -> None:
    for step in (1, 2, 3):  # a sitting of no time does one step
        train(sd_folder, photo_folder, tmp_path, TINY, minutes=0)
        assert torch.load(tmp_path / "transformer-state.pt", weights_only=True)["step"] == step
        assert not (tmp_path / "model").exists()
    train(sd_folder, photo_folder, tmp_path, TINY)
    expected, found = weights(whole), weights(tmp_path)
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)
    assert (whole / "transformer-log.csv").read_text() == (tmp_path / "transformer-log.csv").read_text()
    assert [line["step"] for line in read_log(whole / "transformer-log.csv")] == ["3", "6"]


def test_latents_of_another_number_of_crops_are_refused(
    sd_folder: Path, photo_folder: Path, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "latents.pt").write_bytes((whole / "latents.pt").read_bytes())
    with pytest.raises(ValueError, match="has the latents of 14 crops, expected 21: remove it"):
        train(sd_folder, photo_folder, tmp_path, replace(TINY, crops_per_photo=3))


def test_trained_folder_is_a_stable_diffusion_3_folder_in_float16(whole: Path) -> None:
    assert all(value.dtype == torch.float16 for name, value in weights(whole).items() if "ids" not in name)
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        whole / "model",
        dtype=torch.float32,
        local_files_only=True,
        low_cpu_mem_usage=False,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(TEXTS[:1], num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 64, 64, 3) and np.isfinite(images).all()


def test_the_autoencoder_is_the_other_models_own(whole: Path, sd_folder: Path) -> None:
    name = "vae/diffusion_pytorch_model.safetensors"
    ours, theirs = load_file(whole / "model" / name), load_file(sd_folder / name)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n].half()) for n in ours)


@torch.no_grad()
def test_one_token_of_zeros_with_the_weight_of_all_gives_what_the_pipeline_computes(sd_folder: Path) -> None:
    pipeline = build_pipeline(sd_folder, TINY)
    latents, timestep = torch.randn(2, 4, 16, 16), torch.tensor([700.0, 300.0])
    context, _, pooled, _ = pipeline.encode_prompt(TEXTS, None, None)
    assert context.shape[1] == 16 + 256
    pipeline.transformer.set_attn_processor(JointAttnProcessor2_0())
    expected = pipeline.transformer(latents, context, pooled, timestep).sample

    context, pooled = encode_texts(pipeline, TEXTS)
    assert context.shape[1] == 16 + 1
    unweighted = pipeline.transformer(latents, context, pooled, timestep).sample
    pipeline.transformer.set_attn_processor(ZeroTokensAsOne())
    found = pipeline.transformer(latents, context, pooled, timestep).sample
    assert torch.allclose(found, expected, atol=1e-5) and not torch.allclose(unweighted, expected, atol=1e-3)


def test_a_pipeline_with_a_t5_is_refused() -> None:
    with pytest.raises(ValueError, match="without a T5"):
        encode_texts(SimpleNamespace(text_encoder_3=object()), TEXTS)


def test_loss_is_the_error_of_the_velocity_at_the_mixture() -> None:
    latents, noise, sigma = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0.2, 0.5, 0.9])
    seen = {}

    def transformer(noisy: torch.Tensor, *others: torch.Tensor) -> SimpleNamespace:
        seen.update(noisy=noisy, others=others)
        return SimpleNamespace(sample=noise - latents + 0.5)

    loss = velocity_loss(transformer, latents, noise, sigma, torch.ones(1), torch.zeros(1))
    assert loss.item() == pytest.approx(0.25)
    for i, level in enumerate(sigma):
        assert torch.allclose(seen["noisy"][i], (1 - level) * latents[i] + level * noise[i])
    assert torch.equal(seen["others"][2], 1000 * sigma)


@pytest.mark.parametrize(("is_logit_normal", "share"), [(True, 0.7286), (False, 0.5)])
def test_noise_levels_are_drawn_as_said(is_logit_normal: bool, share: float) -> None:
    torch.manual_seed(0)
    sigmas = draw_sigmas(20_000, FlowConfig(is_logit_normal=is_logit_normal))
    assert sigmas.min() > 0 and sigmas.max() < 1 and abs(sigmas.mean() - 0.5) < 0.01
    middle = ((sigmas > 0.25) & (sigmas < 0.75)).float().mean()  # P(|z| < ln 3) of a normal z
    assert abs(middle - share) < 0.01
