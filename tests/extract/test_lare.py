from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from extract.lare import lare_map, reconstruction_error, squared_errors
from extract.noising import NoiseLevel
from tests.models import tiny_unet


def ddpm(prediction_type: str) -> DDPMScheduler:
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type
    )


def alpha_bar(timestep: int) -> float:
    """ᾱ_t of Stable Diffusion's schedule, from its definition."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return float(np.prod(1 - betas[: timestep + 1]))


class ConstantUNet:
    """Predicts one value everywhere, and remembers what it was given."""

    dtype = torch.float32

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, sample: Tensor, timesteps: Tensor, *condition: Tensor) -> SimpleNamespace:
        self.sample, self.timesteps, self.condition = sample, timesteps, condition
        return SimpleNamespace(sample=torch.full_like(sample, self.value))


def inputs(b: int = 2, draws: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(b, 4, 8, 8, generator=rng)
    return latents, torch.randn(b, draws, 4, 8, 8, generator=rng), torch.randn(b, 16, 16, generator=rng)


def test_lare_map_of_a_hand_computed_2x2_latent() -> None:
    noise = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 1, 2, 2)
    noise = torch.cat([noise, -noise], dim=1)
    errors = reconstruction_error(ConstantUNet(1.0), ddpm("epsilon"), torch.zeros(1, 1, 2, 2), noise, 200)
    assert errors[0, 0, 0].tolist() == [[0, 1], [4, 9]]
    assert errors[0, 1, 0].tolist() == [[4, 9], [16, 25]]
    assert lare_map(errors)[0, 0].tolist() == [[2, 5], [10, 17]]


def test_the_unet_gets_noised_latents_of_every_draw_and_the_images_condition() -> None:
    latents, noise, embeds = inputs()
    unet = ConstantUNet(0.0)
    reconstruction_error(unet, ddpm("epsilon"), latents, noise, 200, embeds)
    expected = alpha_bar(200) ** 0.5 * latents[:, None] + (1 - alpha_bar(200)) ** 0.5 * noise
    torch.testing.assert_close(unet.sample, expected.flatten(0, 1), atol=1e-5, rtol=1e-5)
    assert unet.timesteps.tolist() == [200] * 6
    torch.testing.assert_close(unet.condition[0], embeds[[0, 0, 0, 1, 1, 1]])


def test_v_prediction_is_compared_with_the_velocity() -> None:
    latents, noise, _ = inputs()
    errors = reconstruction_error(ConstantUNet(0.25), ddpm("v_prediction"), latents, noise, 300)
    velocity = alpha_bar(300) ** 0.5 * noise - (1 - alpha_bar(300)) ** 0.5 * latents[:, None]
    torch.testing.assert_close(errors, (velocity - 0.25) ** 2, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("conditional", [True, False])
def test_real_unets_give_one_error_a_draw(conditional: bool) -> None:
    torch.manual_seed(0)
    unet = tiny_unet(conditional=conditional).eval()
    latents, noise, embeds = inputs()
    condition = embeds if conditional else None
    errors = reconstruction_error(unet, ddpm("epsilon"), latents, noise, 200, condition)
    assert errors.shape == noise.shape and errors.dtype == torch.float32

    noisy = alpha_bar(200) ** 0.5 * latents[1:] + (1 - alpha_bar(200)) ** 0.5 * noise[1:, 2]
    extra = (embeds[1:],) if conditional else ()
    alone = (noise[1:, 2] - unet(noisy, 200, *extra).sample).square()
    torch.testing.assert_close(errors[1:, 2], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_more_draws_leave_the_first_ones_alone() -> None:
    torch.manual_seed(0)
    unet = tiny_unet().eval()
    latents, noise, embeds = inputs(draws=8)
    eight = reconstruction_error(unet, ddpm("epsilon"), latents, noise, 200, embeds)
    four = reconstruction_error(unet, ddpm("epsilon"), latents, noise[:, :4], 200, embeds)
    torch.testing.assert_close(eight[:, :4], four, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_noising_and_error_stay_float32_around_a_bfloat16_unet() -> None:
    torch.manual_seed(0)
    unet = tiny_unet().eval().to(torch.bfloat16)
    latents, noise, embeds = inputs()
    errors = reconstruction_error(unet, ddpm("epsilon"), latents, noise, 200, embeds)
    noisy = alpha_bar(200) ** 0.5 * latents[:1] + (1 - alpha_bar(200)) ** 0.5 * noise[:1, 0]
    prediction = unet(noisy.bfloat16(), 200, embeds[:1].bfloat16()).sample.float()
    assert errors.dtype == torch.float32
    # The prediction has 8 bits; an error that was computed in bfloat16 as well would be off by up to 1 %.
    torch.testing.assert_close(errors[:1, 0], (noise[:1, 0] - prediction).square(), atol=3e-2, rtol=3e-2)
    assert not torch.equal(errors, errors.bfloat16().float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": torch.zeros(2, 4, 8, 8)}, r"noise is \(2, 4, 8, 8\).*expected \(b, draw, c, h, w\)"),
        ({"noise": torch.zeros(3, 1, 4, 8, 8)}, r"noise is \(3, 1, 4, 8, 8\) for latents \(2, 4, 8, 8\)"),
        ({"prompt_embeds": torch.zeros(1, 16, 16)}, r"prompt_embeds is .*expected \(2, tokens, dim\)"),
        ({"timestep": 1000}, r"timestep is 1000: expected 0 … 999"),
        ({"timestep": -1}, r"timestep is -1"),
        ({"scheduler": ddpm("sample")}, r"prediction type is 'sample': expected one of \('epsilon', 'v_prediction'\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    latents, noise, embeds = inputs()
    arguments = {
        "latents": latents,
        "noise": noise,
        "timestep": 200,
        "scheduler": ddpm("epsilon"),
        "prompt_embeds": embeds,
    }
    with pytest.raises(ValueError, match=message):
        reconstruction_error(ConstantUNet(0.0), **{**arguments, **change})


def test_a_unet_that_also_predicts_variances_is_refused() -> None:
    latents, noise, _ = inputs()

    class LearnedVariance(ConstantUNet):
        def __call__(self, sample: Tensor, *_: Tensor) -> SimpleNamespace:
            return SimpleNamespace(sample=torch.cat([sample, sample], dim=1))

    with pytest.raises(ValueError, match=r"the UNet returns \(6, 8, 8, 8\) for noise of shape \(6, 4, 8, 8\)"):
        reconstruction_error(LearnedVariance(0.0), ddpm("epsilon"), latents, noise, 200)


def test_a_model_of_another_kind_offers_only_level_prediction_and_target() -> None:
    """Flow matching: z = (1 − σ) z_0 + σ ε, and the target is ε − z_0."""

    class FlowModel:
        def noise_level(self, timestep: int) -> NoiseLevel:
            return NoiseLevel(timestep, torch.tensor(0.75), torch.tensor(0.25))

        def predict(self, noisy_latents: Tensor, level: NoiseLevel, condition: Tensor | None) -> Tensor:
            self.noisy_latents = noisy_latents
            return torch.full_like(noisy_latents, 0.5)

        def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
            return noise - latents

    latents, noise, _ = inputs()
    model = FlowModel()
    errors = squared_errors(model, latents, noise, 200, None)
    torch.testing.assert_close(errors, (noise - latents[:, None] - 0.5).square())
    torch.testing.assert_close(model.noisy_latents, (0.75 * latents[:, None] + 0.25 * noise).flatten(0, 1))
