"""PixArt-α and -Σ: a transformer under DDPM's schedule, told a text by T5."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from extract.lare import Condition
from extract.models.fitting import check_channels, check_text_width, patch_divides
from extract.models.latent_diffusion import Encoded, LatentDiffusion
from extract.models.parts import Layout, ModelParts, Text
from extract.models.text import T5, tokenize

_LARGE_SAMPLE = 128
"""Side of the latents of the models that are told the image's size, where their configuration does not say it."""


def _check(parts: ModelParts) -> None:
    check_channels(parts, also_variances=True)
    check_text_width(parts, "caption_channels", parts.parts["text_encoder"].config["d_model"], ("text_encoder",))


class PixArtAlpha(LatentDiffusion):
    """T5's tokens with their mask. The network may also predict variances, in channels that are left out."""

    num_tokens: ClassVar[int] = 120
    """Of the pipeline's own `encode_prompt`."""
    layout = Layout(
        family="pixart_alpha",
        pipelines=("PixArtAlphaPipeline",),
        network="transformer",
        networks=("PixArtTransformer2DModel",),
        noising="ddpm",
        texts=(Text("text_encoder", "tokenizer", T5),),
        divides=patch_divides,
        check=_check,
    )

    def encode_text(self, text: Text, tokenizer: Any, encoder: Any, prompt: str) -> Encoded:
        """T5's last states, and which tokens are text. Texts are in small letters, as the model was trained."""
        ids, mask = (t.to(self.device) for t in tokenize(tokenizer, prompt.lower().strip(), self.num_tokens))
        return encoder(ids, attention_mask=mask).last_hidden_state[0], mask[0].float()

    def combine(self, encoded: Mapping[str, Encoded]) -> Condition:
        """Tokens and their mask."""
        tokens, mask = encoded["text_encoder"]
        return Condition(tokens, mask=mask)

    def empty_condition(self) -> Condition:
        """As many tokens as T5 is asked for."""
        width = self.folder.of_network("caption_channels")
        return Condition(
            torch.empty(1, self.num_tokens, width, device=self.device),
            mask=torch.ones(1, self.num_tokens, device=self.device),
        )

    def call(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition | None) -> Tensor:
        """One call of the transformer; the first half of its channels where it also predicts variances."""
        assert condition is not None
        prediction: Tensor = self.network(
            noisy_latents,
            encoder_hidden_states=condition.embeds,
            encoder_attention_mask=condition.mask,
            timestep=timesteps,
            added_cond_kwargs=self._sizes(noisy_latents),
        ).sample
        return prediction[:, : noisy_latents.shape[1]]

    def _sizes(self, noisy_latents: Tensor) -> dict[str, Tensor | None]:
        """The canvas as resolution and aspect ratio, for the models that are told them."""
        is_told = self.folder.of_network("use_additional_conditions")
        if not (self.folder.of_network("sample_size") == _LARGE_SAMPLE if is_told is None else is_told):
            return {"resolution": None, "aspect_ratio": None}
        height, width = (float(side * self.folder.latent_stride) for side in noisy_latents.shape[-2:])
        sizes = torch.tensor([height, width], dtype=noisy_latents.dtype).to(noisy_latents.device)
        rows = len(noisy_latents)
        return {
            "resolution": sizes.expand(rows, -1),
            "aspect_ratio": (sizes[:1] / sizes[1:]).expand(rows, -1),
        }


class PixArtSigma(PixArtAlpha):
    """As α, with longer texts."""

    num_tokens = 300
    layout = replace(PixArtAlpha.layout, family="pixart_sigma", pipelines=("PixArtSigmaPipeline",))
