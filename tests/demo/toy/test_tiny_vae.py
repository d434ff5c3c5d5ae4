from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from demo.toy import training as toy_training
from demo.toy.tiny_vae import TinyVaeConfig, distillation_losses, scaled_latents, train
from extract.models.folder import ModelFolder
from extract.models.schedule import load_noising
from extract.models.stable_diffusion import StableDiffusion

TINY = TinyVaeConfig(width=8, num_blocks=1, steps=3, batch_size=2)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Eight smooth photographs of one class."""
    folder = tmp_path / "photos" / "tulips"
    folder.mkdir(parents=True)
    for i in range(8):
        coarse = Image.fromarray(np.random.default_rng(i).integers(0, 256, (9, 12, 3), dtype=np.uint8))
        coarse.resize((120, 90), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder.parent


def test_losses_are_differences_to_the_scaled_latents_and_to_the_pixels() -> None:
    images, latents = torch.rand(2, 3, 8, 8), torch.rand(2, 4, 2, 2)

    def student(shift: float) -> SimpleNamespace:
        return SimpleNamespace(
            encode=lambda x: SimpleNamespace(latents=latents + shift),
            decode=lambda z: SimpleNamespace(sample=images * (1 + shift) if z is latents else None),
        )

    def losses(shift: float) -> dict[str, float]:
        return {name: loss.item() for name, loss in distillation_losses(student(shift), images, latents).items()}

    assert losses(0.0) == {"latents": 0, "pixels": 0, "edges": 0}
    dx, dy = images[..., :-1, 1:] - images[..., :-1, :-1], images[..., 1:, :-1] - images[..., :-1, :-1]
    expected = {"latents": 0.5, "pixels": images.mean() / 2, "edges": (dx.abs().mean() + dy.abs().mean()) / 2}
    assert losses(0.5) == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-5)


def test_stage_1_takes_the_student_in_the_teachers_place(
    sd_folder: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy_training, "LOG_EVERY_STEPS", 5)
    train(sd_folder, images, tmp_path / "out", replace(TINY, steps=10))
    first, last = toy_training.read_log(tmp_path / "out" / "tiny_vae-log.csv")
    assert float(last["held_out_loss"]) < float(first["held_out_loss"])

    original = ModelFolder.open(str(sd_folder))
    folder = ModelFolder.open(str(sd_folder), vae=str(tmp_path / "out"))
    assert folder.vae.class_name == "AutoencoderTiny" and folder.latent_shape(64) == original.latent_shape(64)
    noising, device = load_noising(folder, [200]), torch.device("cpu")
    with_teacher, with_student = (StableDiffusion(f, noising, "fp32", device) for f in (original, folder))
    pixels, zeros = torch.rand(1, 3, 64, 64) * 2 - 1, torch.zeros(1, *folder.latent_shape(64))
    # What the student learns is what the UNet sees in the teacher's place, and what it gives is not scaled again.
    assert torch.equal(with_teacher.encode(pixels, zeros), scaled_latents(with_teacher.vae, pixels))
    assert torch.equal(with_student.encode(pixels, zeros), with_student.vae.encode(pixels).latents)


def test_a_sitting_ends_in_time_and_the_next_one_goes_on(sd_folder: Path, images: Path, tmp_path: Path) -> None:
    train(sd_folder, images, tmp_path / "whole", TINY)
    train(sd_folder, images, tmp_path / "cut", TINY, minutes=0)
    assert torch.load(tmp_path / "cut" / "tiny_vae-state.pt", weights_only=True)["step"] == 1
    assert not (tmp_path / "cut" / "vae").exists()
    train(sd_folder, images, tmp_path / "cut", TINY)
    name = "vae/diffusion_pytorch_model.safetensors"
    expected, found = (load_file(tmp_path / out / name) for out in ("whole", "cut"))
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert {value.dtype for value in found.values()} == {torch.float16}
