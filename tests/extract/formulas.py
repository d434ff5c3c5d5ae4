"""The formulas of the methods that reconstruct pixels, written out without any scheduler."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from cache_schema import Dataset, read_image_bytes
from tests.extract.run.test_pipeline import draw
from tests.extract.test_lare import alpha_bar


class Formulas:
    """The methods' formulas written out, without a scheduler, one image at a time.

    Args:
        model: Folder with an AutoencoderKL and a UNet2DConditionModel.
        is_v: Whether the UNet predicts v.
    """

    def __init__(self, model: Path, is_v: bool) -> None:
        self.vae = AutoencoderKL.from_pretrained(model / "vae", low_cpu_mem_usage=False)
        self.unet = UNet2DConditionModel.from_pretrained(model / "unet", low_cpu_mem_usage=False)
        tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
        ids = tokenizer("a photo", padding="max_length", max_length=16, return_tensors="pt").input_ids
        self.text = CLIPTextModel.from_pretrained(model / "text_encoder")(ids).last_hidden_state
        self.is_v = is_v

    def split(self, latents: Tensor, level: int, timestep: int) -> tuple[Tensor, Tensor]:
        """Clean latents and noise that a prediction at a timestep makes of latents with a noise level."""
        prediction = self.unet(latents, timestep, self.text).sample
        signal, sigma = alpha_bar(level) ** 0.5, (1 - alpha_bar(level)) ** 0.5
        if self.is_v:
            return signal * latents - sigma * prediction, signal * prediction + sigma * latents
        return (latents - sigma * prediction) / signal, prediction

    def dire(self, pixels: Tensor, key: str) -> Tensor:
        """Two steps each way. The first level is that of timestep 0, as `set_alpha_to_one` is off in the folder."""
        latents = 0.18215 * self.vae.encode(pixels).latent_dist.mean
        for level, timestep, target in ((0, 1, 1), (1, 501, 501), (501, 501, 1), (1, 1, 0)):
            clean, noise = self.split(latents, level, timestep)
            latents = alpha_bar(target) ** 0.5 * clean + (1 - alpha_bar(target)) ** 0.5 * noise
        return self.error(pixels, latents)

    def one_step(self, pixels: Tensor, key: str) -> Tensor:
        """Two draws at t = 200."""
        posterior = self.vae.encode(pixels).latent_dist
        latents = 0.18215 * (posterior.mean + posterior.std * draw(key, -1))
        errors = []
        for number in range(2):
            noisy = alpha_bar(200) ** 0.5 * latents + (1 - alpha_bar(200)) ** 0.5 * draw(key, number)
            errors.append(self.error(pixels, self.split(noisy, 200, 200)[0]))
        return torch.stack(errors).mean(0)

    def roundtrip(self, pixels: Tensor, key: str) -> Tensor:
        """The autoencoder alone."""
        return self.error(pixels, 0.18215 * self.vae.encode(pixels).latent_dist.mean)

    def error(self, pixels: Tensor, latents: Tensor) -> Tensor:
        difference = (pixels - self.vae.decode(latents / 0.18215).sample.clamp(-1, 1)).abs()
        return difference[0].reshape(3, 8, 8, 8, 8).mean(dim=(2, 4))


@torch.no_grad()
def maps_by_formula(method: str, model: Path, is_v: bool, dataset: Dataset) -> dict[str, np.ndarray]:
    formula: Callable[[Tensor, str], Tensor] = getattr(Formulas(model, is_v), method)
    maps = {}
    for row in dataset.table(["key", "tar", "offset", "size"]).to_pylist():
        data = read_image_bytes(dataset.folder / row["tar"], row["offset"], row["size"])
        image = Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(image) / 127.5 - 1).permute(2, 0, 1)[None].float()
        maps[row["key"]] = formula(pixels, row["key"]).numpy()
    return maps
