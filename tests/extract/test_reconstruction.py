"""The arithmetic of reconstructions: closed forms with UNets that predict a constant, and a real one."""

import json
from itertools import pairwise
from math import acos, cos, prod
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, SchedulerMixin
from torch import Tensor

from extract.lare import Condition, UNetPredictor
from extract.models.folder import ModelFolder
from extract.models.schedule import load_noising
from extract.models.stable_diffusion import StableDiffusion
from extract.noising import DdpmNoising
from extract.reconstruction import Ddim, cell_errors, denoise_in_one_step, reconstruct_by_ddim
from tests.extract.test_lare import ConstantUNet, alpha_bar, ddpm, inputs
from tests.models import scheduler


def saved(scheduler: SchedulerMixin) -> dict[str, Any]:
    """Its configuration as a model folder has it."""
    return json.loads(scheduler.to_json_string())


USUAL = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SD15 = saved(scheduler())
TOY = saved(DDPMScheduler(**USUAL, steps_offset=1))
CONFIGS = {
    "SD 1.5": SD15,
    "toy": TOY,
    "trailing": saved(DDIMScheduler(**USUAL, timestep_spacing="trailing", clip_sample=True, thresholding=True)),
    "linspace": saved(EulerDiscreteScheduler(**USUAL, timestep_spacing="linspace")),
}


class RecordingUNet(ConstantUNet):
    """Keeps what every call was given."""

    def __init__(self, value: float) -> None:
        super().__init__(value)
        self.calls: list[tuple[int, Tensor]] = []

    def __call__(self, sample: Tensor, timesteps: Tensor, *condition: Tensor) -> SimpleNamespace:
        self.calls.append((int(timesteps[0]), sample))
        return super().__call__(sample, timesteps, *condition)


def predictor(unet: ConstantUNet, prediction_type: str = "epsilon") -> UNetPredictor:
    return UNetPredictor(unet, DdpmNoising(ddpm(prediction_type)))


def test_timesteps_are_leading_and_the_same_both_ways() -> None:
    inverse, forward = ddim = Ddim.from_config(SD15, 20)
    assert inverse.timesteps.tolist() == forward.timesteps.tolist()[::-1] == list(range(1, 1000, 50))
    # Saved without the setting, as many folders are: diffusers' own default would clip latents to [-1, 1].
    assert "clip_sample" not in SD15 and not inverse.config.clip_sample and not forward.config.clip_sample
    assert ddim.identity == "DDIM, timesteps 1 to 951, alpha_cumprod of clean latents that of timestep 0"
    assert Ddim.from_config(TOY, 4).identity.endswith("1 to 751, alpha_cumprod of clean latents 1")


@pytest.mark.parametrize("num_steps", [1, 3, 20, 30])
@pytest.mark.parametrize("config", CONFIGS)
def test_a_constant_noise_prediction_is_inverted_exactly(config: str, num_steps: int) -> None:
    latents = 3 * inputs()[0]
    ddim = Ddim.from_config(CONFIGS[config], num_steps)
    reconstructed = reconstruct_by_ddim(predictor(ConstantUNet(0.5)), ddim, latents, None)
    torch.testing.assert_close(reconstructed, latents, atol=1e-4, rtol=1e-4)


def test_noise_of_a_constant_prediction_has_a_closed_form() -> None:
    latents, unet = inputs()[0], RecordingUNet(0.5)
    reconstruct_by_ddim(predictor(unet), Ddim.from_config(SD15, 20), latents, None)
    timesteps = list(range(1, 1000, 50))
    assert [t for t, _ in unet.calls] == timesteps + timesteps[::-1]
    # x̂_0 stays what it is under the level of timestep 0; at timestep 951 it is mixed with the noise again.
    clean = (latents - (1 - alpha_bar(0)) ** 0.5 * 0.5) / alpha_bar(0) ** 0.5
    expected = alpha_bar(951) ** 0.5 * clean + (1 - alpha_bar(951)) ** 0.5 * 0.5
    torch.testing.assert_close(unet.calls[20][1], expected, atol=1e-4, rtol=1e-4)


def test_a_zero_velocity_shrinks_latents_by_the_cosines_of_the_steps() -> None:
    latents = inputs()[0]
    ddim = Ddim.from_config({**TOY, "prediction_type": "v_prediction"}, 4)
    angles = [0.0, *(acos(alpha_bar(t) ** 0.5) for t in (1, 251, 501, 751))]
    factor = prod(cos(b - a) for a, b in pairwise(angles)) ** 2
    assert 0.1 < factor < 0.9
    reconstructed = reconstruct_by_ddim(predictor(ConstantUNet(0.0)), ddim, latents, None)
    torch.testing.assert_close(reconstructed, factor * latents, atol=1e-4, rtol=1e-4)


def test_more_steps_reconstruct_better() -> None:
    """With a trained UNet: random weights know nothing of the noise level, and a few steps are as bad as many."""
    folder = ModelFolder.open("demo/models/toy-a")
    diffusion = StableDiffusion(folder, load_noising(folder, []), "fp32", torch.device("cpu"))
    coarse = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    latents = diffusion.encode(F.interpolate(coarse, (64, 64), mode="bilinear") * 2 - 1, None)
    embeds = diffusion.condition(["a photo"] * 2)

    def error(num_steps: int) -> float:
        ddim = Ddim.from_config(folder.scheduler_config, num_steps)
        return float((reconstruct_by_ddim(diffusion, ddim, latents, embeds) - latents).abs().mean())

    errors = [error(num_steps) for num_steps in (2, 6, 20)]
    assert errors[0] > 1.2 * errors[1] > 1.2**2 * errors[2] > 0, errors


def test_every_image_has_its_own_condition() -> None:
    latents, _, embeds = inputs()
    unet = ConstantUNet(0.0)
    reconstruct_by_ddim(predictor(unet), Ddim.from_config(SD15, 1), latents, Condition(embeds))
    assert torch.equal(unet.condition[0], embeds)


@pytest.mark.parametrize("num_steps", [1000, 1001, 5000])
def test_more_steps_than_timesteps_are_refused(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"{num_steps} DDIM steps: the model has 1000 timesteps, which are too few"):
        Ddim.from_config(SD15, num_steps)
    assert Ddim.from_config(SD15, 999).forward.timesteps[0] == 999


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_right_prediction_gives_the_latents_back(prediction_type: str) -> None:
    latents, noise, _ = inputs()
    signal, sigma = alpha_bar(200) ** 0.5, (1 - alpha_bar(200)) ** 0.5
    target = noise if prediction_type == "epsilon" else signal * noise - sigma * latents[:, None]

    class RightUNet(ConstantUNet):
        def __call__(self, sample: Tensor, *_: Tensor) -> SimpleNamespace:
            return SimpleNamespace(sample=target.flatten(0, 1))

    denoised = denoise_in_one_step(predictor(RightUNet(0.0), prediction_type), latents, noise, 200)
    assert denoised.shape == noise.shape
    torch.testing.assert_close(denoised, latents[:, None].expand_as(noise), atol=1e-4, rtol=1e-4)


def test_a_wrong_prediction_moves_the_latents_by_its_error() -> None:
    latents, noise, _ = inputs()
    denoised = denoise_in_one_step(predictor(ConstantUNet(0.25)), latents, noise, 300)
    odds = ((1 - alpha_bar(300)) / alpha_bar(300)) ** 0.5
    torch.testing.assert_close(denoised, latents[:, None] + odds * (noise - 0.25), atol=1e-4, rtol=1e-4)


def test_cell_errors_by_hand() -> None:
    image = torch.zeros(1, 3, 2, 4)
    image[0, 0] = torch.tensor([[1.0, -1.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5]])
    image[0, 2] = 1.0
    reconstruction = torch.zeros(1, 3, 2, 4)
    reconstruction[0, 2, :, 2:] = -1.0
    assert cell_errors(image, reconstruction, 2)[0].tolist() == [[[0.5, 0.5]], [[0.0, 0.0]], [[1.0, 2.0]]]


def test_a_decoder_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the decoder returns \(1, 3, 4, 4\) for images \(1, 3, 8, 8\)"):
        cell_errors(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 4, 4), 2)
