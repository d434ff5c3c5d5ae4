from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline

from demo.toy.pixel import train, velocity_loss
from demo.toy.pixel_model import PixelConfig, build_pipeline, denoise, sampler_of
from tests.demo.toy.conftest import weights

pytestmark = pytest.mark.usefixtures("saved_and_logged_often")

TINY = PixelConfig(channels=(8, 16), steps=4, batch_size=2)


@pytest.fixture(scope="module")
def whole(photo_folder: Path, saved_and_logged_often: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training. It is only read."""
    folder = tmp_path_factory.mktemp("whole")
    train(photo_folder, folder, TINY)
    return folder


def test_sittings_end_where_an_uninterrupted_training_does(photo_folder: Path, whole: Path, tmp_path: Path) -> None:
    train(photo_folder, tmp_path, TINY, minutes=0)
    assert torch.load(tmp_path / "unet-state.pt", weights_only=True)["step"] == 1
    assert not (tmp_path / "model").exists()
    train(photo_folder, tmp_path, TINY)
    expected, found = weights(whole), weights(tmp_path)
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)
    assert (whole / "unet-log.csv").read_text() == (tmp_path / "unet-log.csv").read_text()


def test_trained_folder_is_a_ddpm_folder_in_float16(whole: Path) -> None:
    assert {value.dtype for value in weights(whole).values()} == {torch.float16}
    pipeline = DDPMPipeline.from_pretrained(
        whole / "model", dtype=torch.float32, local_files_only=True, low_cpu_mem_usage=False
    )
    pipeline.set_progress_bar_config(disable=True)
    no_class = pipeline.unet.config.num_class_embeds - 1
    assert no_class == 2  # after "t-shirt" and "tulips"
    # diffusers' pipeline hands on no class.
    pipeline.unet.forward = partial(pipeline.unet.forward, class_labels=torch.tensor([no_class]))
    images = pipeline(num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 64, 64, 3) and np.isfinite(images).all()


def test_loss_is_the_error_of_the_velocity() -> None:
    scheduler = build_pipeline(2, TINY).scheduler
    images, noise, timestep = torch.randn(3, 3, 8, 8), torch.randn(3, 3, 8, 8), torch.tensor([10, 500, 990])
    share = scheduler.alphas_cumprod[timestep].view(-1, 1, 1, 1)
    seen = []

    def unet(noisy: torch.Tensor, *_: torch.Tensor) -> SimpleNamespace:
        seen.append(noisy)
        return SimpleNamespace(sample=share.sqrt() * noise - (1 - share).sqrt() * images + 0.5)

    loss = velocity_loss(unet, scheduler, images, noise, timestep, torch.zeros(3))
    assert loss.item() == pytest.approx(0.25, rel=1e-5)
    assert torch.allclose(seen[0], share.sqrt() * images + (1 - share).sqrt() * noise)


class KnowsTheImage:
    """Predicts the velocity that leads to an image of one value for each class; the last class is none."""

    config = SimpleNamespace(num_class_embeds=3)

    def __init__(self, alphas: torch.Tensor, values: tuple[float, ...]) -> None:
        self.alphas, self.values, self.asked = alphas, torch.tensor(values), []

    def __call__(self, noisy: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> SimpleNamespace:
        self.asked.append(labels.tolist())
        image = self.values[labels].view(-1, 1, 1, 1)
        share = self.alphas[t]
        noise = (noisy - share.sqrt() * image) / (1 - share).sqrt()
        return SimpleNamespace(sample=share.sqrt() * noise - (1 - share).sqrt() * image)


def test_denoising_ends_at_the_image_of_the_class() -> None:
    scheduler = sampler_of(build_pipeline(2, TINY), 5)
    assert scheduler.timesteps[0] == 999  # pure noise
    unet = KnowsTheImage(scheduler.alphas_cumprod, (-0.5, 0.25, 0.0))
    images = denoise(unet, scheduler, torch.randn(2, 3, 8, 8), torch.tensor([0, 1]), 1.0, scheduler.timesteps)
    assert torch.allclose(images.mean(dim=(1, 2, 3)), torch.tensor([-0.5, 0.25]), atol=1e-3)
    assert unet.asked == [[0, 1]] * 5  # without guidance nobody asks for no class


def test_guidance_leads_away_from_the_image_of_no_class() -> None:
    scheduler = sampler_of(build_pipeline(2, TINY), 5)
    unet = KnowsTheImage(scheduler.alphas_cumprod, (-0.25, 0.25, 0.125))
    noisy = torch.zeros(1, 3, 8, 8)
    images = denoise(unet, scheduler, noisy, torch.tensor([1]), 3.0, scheduler.timesteps[-1:])
    assert unet.asked == [[1], [2]]
    assert images.mean().item() == pytest.approx(0.125 + 3 * 0.125, rel=1e-4)
