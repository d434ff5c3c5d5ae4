"""Extraction as the LaRE² authors' scripts do it, written anew from a description: one image a step, one file a map.

What makes it slower than our job is kept: the text is encoded for every image, the autoencoder sees one image, the UNet
one image's draws, and nothing overlaps. What makes it faster is kept too: noise needs no seed, and nothing is checked.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from cache_schema import open_image

Draw = Callable[[tuple[int, ...]], Tensor]
"""Shape → standard normal noise of it, on the CPU."""


class AuthorsWay:
    """The models in fp32 with torch's defaults, and the loop over image files.

    Args:
        model: Diffusers folder with a UNet2DConditionModel and an AutoencoderKL.
        device: Where it runs.
        image_size: Side in px of the square that every image is squashed to.
        timestep: Scheduler index of the noised latents.
        ensemble_size: Noise draws that are averaged.
        prompt: The text of every image.
    """

    def __init__(
        self, model: Path, device: torch.device, image_size: int, timestep: int, ensemble_size: int, prompt: str
    ) -> None:
        self.device, self.image_size, self.prompt = device, image_size, prompt
        self.timestep, self.ensemble_size = timestep, ensemble_size
        self.tokenizer: Any = CLIPTokenizer.from_pretrained(model / "tokenizer")
        config = DDPMScheduler.load_config(model / "scheduler")
        self.scheduler: Any = DDPMScheduler.from_config(config)  # type: ignore[no-untyped-call]
        self.text_encoder = self._load(CLIPTextModel, model / "text_encoder")
        # diffusers warns if it is left to find out that accelerate is not installed.
        self.vae = self._load(AutoencoderKL, model / "vae", low_cpu_mem_usage=False)
        self.unet = self._load(UNet2DConditionModel, model / "unet", low_cpu_mem_usage=False)

    def _load(self, kind: Any, folder: Path, **options: Any) -> Any:
        return kind.from_pretrained(folder, **options).float().to(self.device).eval().requires_grad_(False)

    def run(self, files: Sequence[Path], out: Path) -> None:
        """One map file for each image file: float32, (c, h, w), by torch.save."""
        for file in files:
            torch.save(self.compute_map(file).cpu(), out / f"{file.stem}.pt")

    @torch.no_grad()
    def compute_map(self, file: Path, draw_posterior: Draw = torch.randn, draw_noise: Draw = torch.randn) -> Tensor:
        """LaRE map of an image file.

        Args:
            file: Image.
            draw_posterior: Gives the noise of the posterior sample, (1, c, h, w).
            draw_noise: Gives the noise of the draws, (draw, c, h, w).

        Returns:
            Map, (c, h, w), float32.
        """
        text = self._encode_text()
        posterior = self.vae.encode(self._load_image(file)).latent_dist
        sample = posterior.mean + posterior.std * draw_posterior(tuple(posterior.mean.shape)).to(self.device)
        latents = (sample * self.vae.config.scaling_factor).repeat(self.ensemble_size, 1, 1, 1)
        noise = draw_noise(tuple(latents.shape)).to(self.device)
        timesteps = torch.full((self.ensemble_size,), self.timestep, dtype=torch.long, device=self.device)
        noisy_latents = self.scheduler.add_noise(latents, noise, timesteps)
        prediction = self.unet(noisy_latents, timesteps, text.repeat(self.ensemble_size, 1, 1)).sample
        error: Tensor = (noise - prediction).square().mean(dim=0)
        return error

    def _encode_text(self) -> Tensor:
        length = min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)
        tokens = self.tokenizer(self.prompt, padding="max_length", max_length=length, return_tensors="pt")
        text: Tensor = self.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state
        return text

    def _load_image(self, file: Path) -> Tensor:
        with open_image(file) as opened:
            image = opened.convert("RGB").resize((self.image_size, self.image_size))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        return (pixels / 127.5 - 1)[None].to(self.device)
