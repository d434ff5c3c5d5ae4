"""A diffusion model on one device: its networks, loaded and called. A family adds its conditions and its call."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from extract.config import ComputeDtype, TextDtype
from extract.lare import Condition, check_prediction
from extract.models.kinds import KINDS
from extract.models.loading import load_part, load_tokenizer
from extract.models.number_formats import TORCH_DTYPES, split_formats, tf32
from extract.models.parts import VAE, Component, Layout, ModelParts, Text
from extract.models.prompts import PromptTable
from extract.noising import DdpmNoising, FlowNoising, NoiseLevel

Encoded = tuple[Tensor, ...]
"""What one text encoder makes of one text, without a batch axis."""


class LatentDiffusion(ABC):
    """A model's parts on one device; a `DiffusionModel`. Subclasses are the families.

    Args:
        folder: The model.
        noising: How its latents are noised; None without a network.
        compute_dtype: Number formats of network and autoencoder.
        device: Where it runs.
        channels_last: Whether tensors are kept in channels-last order.
        with_decoder: Whether latents can be decoded; LaRE needs no decoder, which is half of the autoencoder's memory.
        guidance: What a network that was distilled with guidance is told of it; None for others.
        prompts: Texts that are encoded first, so that text encoders and network never lie in memory together.
        text_dtype: Number format of text encoders. They run once a text, so that it is one of memory, not of speed.
        load: Gives a part's network in a number format; `load_part` if not given.
    """

    layout: ClassVar[Layout]
    """What the family needs of a folder."""

    def __init__(
        self,
        folder: ModelParts,
        noising: DdpmNoising | FlowNoising | None,
        compute_dtype: ComputeDtype,
        device: torch.device,
        channels_last: bool = False,
        with_decoder: bool = False,
        guidance: float | None = None,
        prompts: Sequence[str] = (),
        text_dtype: TextDtype = "fp32",
        load: Callable[[Component, torch.dtype], Any] | None = None,
    ) -> None:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.folder, self._noising, self.compute_dtype, self.device = folder, noising, compute_dtype, device
        self.with_decoder, self.guidance, self.text_dtype = with_decoder, guidance, text_dtype
        self._texts = PromptTable(self._encode_prompts)
        self._kept: dict[str, tuple[Any, Any]] = {}
        if prompts:
            self.condition(prompts)
        self._network_format, self._vae_format = split_formats(compute_dtype)
        load = load or load_part
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network: Any = None
        if folder.network is not None:
            self.network = load(folder.network, TORCH_DTYPES[self._network_format]).to(device, memory_format=layout)
        self.vae: Any = None
        if folder.vae is not None:
            vae = load(folder.vae, TORCH_DTYPES[self._vae_format])
            if not with_decoder:
                vae.decoder = nn.Identity()
            self.vae = vae.to(device, memory_format=layout)

    # What a family says

    @classmethod
    def identity(cls, parts: ModelParts) -> dict[str, int | str]:
        """Fingerprint fields of what the network is told besides texts, and of the family; none of the first one's."""
        return {"model_family": cls.layout.family}

    @abstractmethod
    def call(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition | None) -> Tensor:
        """The network's prediction.

        Args:
            noisy_latents: (n, c, h, w), in the network's dtype.
            timesteps: (n,), whole numbers, or float32 under flow matching.
            condition: Of all n, in the network's dtype; None for a model without text.
        """

    def encode_text(self, text: Text, tokenizer: Any, encoder: Any, prompt: str) -> Encoded:
        """What a text encoder makes of a text, as the family's own pipeline calls it. Families with texts say it."""
        raise NotImplementedError

    def combine(self, encoded: Mapping[str, Encoded]) -> Condition:
        """A text's condition, without batch axis, of what its encoders made of it, by their folders."""
        raise NotImplementedError

    def empty_condition(self) -> Condition:
        """A text's condition of the usual shape, with batch axis, on the model's device: to count operations."""
        raise NotImplementedError

    # What is the same for all

    def compile(self) -> None:
        """Have network, encoder and decoder, as far as they are used, compiled when next called, for one batch size."""
        halves = () if self.vae is None else (self.vae.encoder, *([self.vae.decoder] if self.with_decoder else []))
        for part in (self.network, *halves):
            if part is not None:
                part.compile(dynamic=False)

    @property
    def noising(self) -> DdpmNoising | FlowNoising:
        """How its latents are noised."""
        assert self._noising is not None
        return self._noising

    @cached_property
    def in_fp32(self) -> "LatentDiffusion":
        """The same model in fp32, for images whose map overflows; loaded when first needed."""
        return type(self)(
            self.folder,
            self._noising,
            "fp32",
            self.device,
            with_decoder=self.with_decoder,
            guidance=self.guidance,
            text_dtype=self.text_dtype,
        )

    def condition(self, prompts: Sequence[str]) -> Condition | None:
        """Texts to the network's conditions; None for a model without text.

        Each distinct text is encoded once, and cut off where it is too long.
        """
        return self._texts.embed(prompts) if self.folder.has_text else None

    @torch.inference_mode()
    def _encode_prompts(self, prompts: Sequence[str]) -> list[Condition]:
        """Texts to their conditions, which have no batch axis. One text encoder is in memory at a time."""
        encoded: list[dict[str, Encoded]] = [{} for _ in prompts]
        for text in self.folder.layout.texts:
            if text.folder in self.folder.parts:
                for outputs, found in zip(encoded, self._encode_by(text, prompts), strict=True):
                    outputs[text.folder] = found
        return [self.combine(outputs) for outputs in encoded]

    def _encode_by(self, text: Text, prompts: Sequence[str]) -> list[Encoded]:
        """What one text encoder makes of the texts; it is freed at the end, unless it is kept."""
        tokenizer, encoder = self._open_text(text)
        with tf32(False):
            found = [self.encode_text(text, tokenizer, encoder, prompt) for prompt in prompts]
        return [tuple(tensor.float() for tensor in tensors) for tensors in found]

    def _open_text(self, text: Text) -> tuple[Any, Any]:
        """A tokenizer and its encoder. They are kept from the second time on: then texts come in many lots."""
        if text.folder in self._kept:
            return self._kept[text.folder]
        part = self.folder.parts[text.folder]
        encoder = load_part(part, TORCH_DTYPES[self.text_dtype]).to(self.device)
        loaded = load_tokenizer(self.folder.tokenizers[text.tokenizer], part.class_name), encoder
        if len(self._texts):
            self._kept[text.folder] = loaded
        return loaded

    @torch.inference_mode()
    def encode(self, images: Tensor, posterior_noise: Tensor | None) -> Tensor:
        """Images to scaled latents.

        Args:
            images: (b, 3, S, S), float32 in [-1, 1].
            posterior_noise: (b, c, h, w), float32, unit variance; None for the posterior's mean. Autoencoders
                without a posterior ignore it.

        Returns:
            Latents, (b, c, h, w), float32: (mean + std · noise − shift) · scale. The images themselves for a model of
            pixels.
        """
        if self.vae is None:
            return images
        images = images.to(self.vae.dtype)
        with tf32(self._vae_format == "tf32"):
            encoded = self.vae.encode(images)
            if name := KINDS[self.folder.parts[VAE].class_name].latents:
                latents = encoded[name].float()
            else:
                latents = encoded.latent_dist.mean.float()
                if posterior_noise is not None:
                    latents = latents + encoded.latent_dist.std.float() * posterior_noise
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
        pixels = latents
        if self.vae is not None:
            config = self.vae.config
            unscaled = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
            with tf32(self._vae_format == "tf32"):
                pixels = self.vae.decode(unscaled.to(self.vae.dtype)).sample.float()
        # Clamping, and AutoencoderTiny's tanh, would make an innocent number of an infinity.
        is_finite = latents.isfinite().all(dim=(1, 2, 3)) & pixels.isfinite().all(dim=(1, 2, 3))
        return pixels.clamp(-1, 1).where(is_finite[:, None, None, None], torch.nan)

    def noise_level(self, at: float) -> NoiseLevel:
        """The noise level of a timestep or σ; errors as in `extract.noising`."""
        return self.noising.noise_level(at)

    @torch.inference_mode()
    def predict(self, noisy_latents: Tensor, level: NoiseLevel, condition: Condition | None) -> Tensor:
        """One call of the network; arguments and result as in `extract.lare.NoisePredictor.predict`."""
        num_rows, dtype = len(noisy_latents), self.network.dtype
        kind = torch.long if isinstance(level.timestep, int) else torch.float32
        timesteps = torch.full((num_rows,), level.timestep, dtype=kind, device=noisy_latents.device)
        given = None if condition is None else condition.map(lambda tensor: tensor.to(dtype)).for_draws(num_rows)
        with tf32(self._network_format == "tf32"):
            prediction = self.call(noisy_latents.to(dtype), timesteps, given).float()
        check_prediction(prediction, noisy_latents)
        return prediction

    def target(self, latents: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """What a perfect network would predict: ε, or a velocity."""
        return self.noising.target(latents, noise, level)

    def denoise(self, noisy_latents: Tensor, prediction: Tensor, level: NoiseLevel) -> Tensor:
        """The clean latents that a prediction implies."""
        return self.noising.denoise(noisy_latents, prediction, level)
