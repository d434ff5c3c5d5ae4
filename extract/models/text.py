"""Texts as the encoders of several families take and give them."""

from typing import Any

import torch
from torch import Tensor

CLIP = ("CLIPTextModel",)
CLIP_PROJECTED = ("CLIPTextModelWithProjection",)
T5 = ("T5EncoderModel",)
GEMMA_2 = ("Gemma2Model",)


def token_ids(tokenizer: Any, prompt: str, length: int) -> Tensor:
    """A text as tokens, filled up and cut off to a length, (1, length)."""
    return tokenize(tokenizer, prompt, length)[0]


def tokenize(tokenizer: Any, prompt: str, length: int) -> tuple[Tensor, Tensor]:
    """A text as tokens, filled up and cut off to a length, and a mask that is 0 for the fill, (1, length) each."""
    tokens = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return tokens.input_ids, tokens.attention_mask


def clip_length(tokenizer: Any, encoder: Any) -> int:
    """Tokens of a text for CLIP: as many as both the tokenizer and the encoder take."""
    return int(min(tokenizer.model_max_length, encoder.config.max_position_embeddings))


def encode_pooled(tokenizer: Any, encoder: Any, prompt: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """CLIP's last but one states, (tokens, dim), and what it makes of the whole text, (dim,): projected, or pooled.

    Args:
        tokenizer: CLIP's.
        encoder: `CLIPTextModelWithProjection`, or `CLIPTextModel`, whose pooled state is taken as it is.
        prompt: The text.
        device: Where the encoder is.
    """
    ids = token_ids(tokenizer, prompt, clip_length(tokenizer, encoder))
    outputs = encoder(ids.to(device), output_hidden_states=True)
    whole = outputs.text_embeds if hasattr(outputs, "text_embeds") else outputs.pooler_output
    return outputs.hidden_states[-2][0], whole[0]
