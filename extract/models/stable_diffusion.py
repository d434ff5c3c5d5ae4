"""Stable Diffusion 1.x and 2.x, and other UNets under DDPM's noise schedule: their networks, loaded and called."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from extract.config import ComputeDtype
from extract.lare import PREDICTION_TYPES, NoiseLevel, UNetPredictor
from extract.models.folder import ModelFolder
from extract.models.loading import load_part, load_tokenizer
from extract.models.prompts import PromptTable
from extract.models.settings import USUAL_TIMESTEPS

_TORCH_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_scheduler(folder: ModelFolder, timesteps: Iterable[int]) -> Any:
    """The model's noise schedule. Noising is always DDPM's, also where the folder names another sampler.

    Raises:
        ValueError: If the prediction type is not supported, or a timestep is outside the schedule.
    """
    scheduler: Any = DDPMScheduler.from_config(folder.scheduler_config)  # type: ignore[no-untyped-call]
    if scheduler.config.prediction_type not in PREDICTION_TYPES:
        raise ValueError(
            f"the model's prediction type is {scheduler.config.prediction_type!r}: supported are {PREDICTION_TYPES}"
        )
    for timestep in timesteps:
        if not 0 <= timestep < scheduler.config.num_train_timesteps:
            raise ValueError(f"timestep is {timestep}: the model has 0 … {scheduler.config.num_train_timesteps - 1}")
    return scheduler


def alphas_cumprod_sha256(scheduler: Any) -> str:
    """Hash of ten values of the noise schedule, rounded to four decimals.

    Not all values and not all digits: the last bit differs between processors, and a cache made on one machine must
    be accepted on the next.
    """
    alphas_cumprod = scheduler.alphas_cumprod.double().numpy()
    step = max(1, len(alphas_cumprod) // 10)
    # From the middle of each tenth: Stable Diffusion's first value, 0.99915, lies between two roundings.
    probes = alphas_cumprod[step // 2 :: step]
    return hashlib.sha256(np.rint(probes * 10_000).astype("<i4").tobytes()).hexdigest()


def schedule_identity(scheduler: Any) -> dict[str, int | str]:
    """Fingerprint fields of a noise schedule. Those of an unusual one were added later."""
    config = scheduler.config
    fields: dict[str, int | str] = {
        "alphas_cumprod_sha256": alphas_cumprod_sha256(scheduler),
        "prediction_type": config.prediction_type,
    }
    if config.num_train_timesteps != USUAL_TIMESTEPS:
        fields["num_train_timesteps"] = config.num_train_timesteps
    if config.trained_betas is not None:  # ten values say all of a formula, and little of a list
        betas = np.asarray(config.trained_betas, dtype="<f8")
        fields["trained_betas_sha256"] = hashlib.sha256(betas.tobytes()).hexdigest()
    return fields


class StableDiffusion:
    """A model's parts on one device; a `DiffusionModel`.

    Args:
        folder: The model.
        scheduler: Its noise schedule; None without a UNet.
        compute_dtype: Number format of UNet and autoencoder. Under `fp16` the autoencoder stays in fp32, where its
            activations do not overflow; the text encoder is always fp32, as it runs once a text.
        device: Where it runs.
        channels_last: Whether tensors are kept in channels-last order.
        with_decoder: Whether latents can be decoded; LaRE needs no decoder, which is half of the autoencoder's memory.
    """

    def __init__(
        self,
        folder: ModelFolder,
        scheduler: Any,
        compute_dtype: ComputeDtype,
        device: torch.device,
        channels_last: bool = False,
        with_decoder: bool = False,
    ) -> None:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.folder, self.scheduler, self.compute_dtype, self.device = folder, scheduler, compute_dtype, device
        self.with_decoder = with_decoder
        dtype = _TORCH_DTYPES[compute_dtype]
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.unet: Any = None
        if folder.unet is not None:
            self.unet = load_part(folder.unet, dtype).to(device, memory_format=layout)
        vae = load_part(folder.vae, torch.float32 if compute_dtype == "fp16" else dtype)
        if not with_decoder:
            vae.decoder = nn.Identity()
        self.vae: Any = vae.to(device, memory_format=layout)
        self._texts = PromptTable(self._encode_prompt)

    def compile(self) -> None:
        """Have UNet, encoder and decoder, as far as they are used, compiled at their next call, for one batch size."""
        parts = [self.unet, self.vae.encoder, *([self.vae.decoder] if self.with_decoder else [])]
        for part in parts:
            if part is not None:
                part.compile(dynamic=False)

    @cached_property
    def _text(self) -> tuple[Any, Any]:
        assert self.folder.tokenizer is not None and self.folder.text_encoder is not None
        encoder = load_part(self.folder.text_encoder, torch.float32)
        return load_tokenizer(self.folder.tokenizer), encoder.to(self.device)

    @cached_property
    def in_fp32(self) -> "StableDiffusion":
        """The same model in fp32, for images whose map overflows; loaded when first needed."""
        return StableDiffusion(self.folder, self.scheduler, "fp32", self.device, with_decoder=self.with_decoder)

    def condition(self, prompts: Sequence[str]) -> Tensor | None:
        """Texts to the UNet's conditions, (b, tokens, dim), float32; None for a UNet without text condition.

        Each distinct text is encoded once, and cut off where it is too long.
        """
        return None if self.folder.text_encoder is None else self._texts.embed(prompts)

    @torch.inference_mode()
    def _encode_prompt(self, prompt: str) -> Tensor:
        """Text to the UNet's condition, (tokens, dim), float32."""
        tokenizer, encoder = self._text
        length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
        ids = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        with _tf32(False):
            embeds: Tensor = encoder(ids.to(self.device)).last_hidden_state[0]
        return embeds

    @torch.inference_mode()
    def encode(self, images: Tensor, posterior_noise: Tensor | None) -> Tensor:
        """Images to scaled latents.

        Args:
            images: (b, 3, S, S), float32 in [-1, 1].
            posterior_noise: (b, c, h, w), float32, unit variance; None for the posterior's mean. An `AutoencoderTiny`
                has no posterior and ignores it.

        Returns:
            Latents, (b, c, h, w), float32: (mean + std · noise − shift) · scale.
        """
        images = images.to(self.vae.dtype)
        with _tf32(self.compute_dtype == "tf32"):
            if self.folder.vae.class_name == "AutoencoderTiny":
                latents = self.vae.encode(images).latents.float()
            else:
                posterior = self.vae.encode(images).latent_dist
                latents = posterior.mean.float()
                if posterior_noise is not None:
                    latents = latents + posterior.std.float() * posterior_noise
        config = self.vae.config
        scaled: Tensor = (latents - (config.get("shift_factor") or 0.0)) * config.scaling_factor
        return scaled

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to images, by a model that was loaded with its decoder.

        Args:
            latents: (b, c, h, w), float32.

        Returns:
            Images, (b, 3, S, S), float32, clamped to [-1, 1]; NaN all over where latents or pixels are not finite.
        """
        config = self.vae.config
        unscaled = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
        with _tf32(self.compute_dtype == "tf32"):
            pixels: Tensor = self.vae.decode(unscaled.to(self.vae.dtype)).sample.float()
        # Clamping, and AutoencoderTiny's tanh, would make an innocent number of an infinity.
        is_finite = latents.isfinite().all(dim=(1, 2, 3)) & pixels.isfinite().all(dim=(1, 2, 3))
        return pixels.clamp(-1, 1).where(is_finite[:, None, None, None], torch.nan)

    @property
    def _predictor(self) -> UNetPredictor:
        return UNetPredictor(self.unet, self.scheduler)

    def noise_level(self, timestep: int) -> NoiseLevel:
        """The noise level of a timestep; errors as in `UNetPredictor`."""
        return self._predictor.noise_level(timestep)

    @torch.inference_mode()
    def predict(self, noisy_latents: Tensor, level: NoiseLevel, condition: Tensor | None) -> Tensor:
        """One UNet call; arguments and result as in `extract.lare.NoisePredictor.predict`."""
        with _tf32(self.compute_dtype == "tf32"):
            return self._predictor.predict(noisy_latents, level, condition)

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """ε, or v where the UNet predicts that."""
        return self._predictor.target(latents, noise, level)

    def denoise(self, noisy_latents: Tensor, prediction: Tensor, level: NoiseLevel) -> Tensor:
        """The clean latents that a prediction implies."""
        return self._predictor.denoise(noisy_latents, prediction, level)


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Switch TF32 for matrix products and convolutions; torch's default differs between the two."""
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, conv.allow_tf32
    matmul.allow_tf32 = conv.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, conv.allow_tf32 = before
