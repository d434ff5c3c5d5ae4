"""Sana: a transformer of DC-AE's latents under flow matching, told a text by Gemma 2 behind an instruction."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from extract.lare import Condition
from extract.models.fitting import check_channels, check_text_width, patch_divides
from extract.models.latent_diffusion import Encoded, LatentDiffusion
from extract.models.parts import Layout, ModelParts, Text
from extract.models.settings import shown
from extract.models.text import GEMMA_2, tokenize

NUM_TOKENS = 300
"""Of the pipeline's own `encode_prompt`: the first, and the last 299 of instruction and text."""
INSTRUCTION = "\n".join(
    (
        "Given a user prompt, generate an 'Enhanced prompt' that provides detailed visual descriptions suitable for "
        "image generation. Evaluate the level of detail in the user prompt:",
        "- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, textures, and spatial "
        "relationships to create vivid and concrete scenes.",
        "- If the prompt is already detailed, refine and enhance the existing details slightly without "
        "overcomplicating.",
        "Here are examples of how to transform or refine prompts:",
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up in a round shape, sleeping "
        "peacefully on a warm sunny windowsill, surrounded by pots of blooming red flowers.",
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at dusk, featuring glowing street "
        "lamps, a diverse crowd of people in colorful clothing, and a double-decker bus passing by towering glass "
        "skyscrapers.",
        "Please generate only the enhanced description for the prompt below and avoid including any additional "
        "commentary or evaluations:",
        "User Prompt: ",
    )
)
"""What the pipeline puts before every text unless told otherwise (`complex_human_instruction`), as in training."""
_ROPE_THETA = 10000.0
"""Base of Gemma 2's rotary positions, which transformers takes where nothing is said."""


def _check(parts: ModelParts) -> None:
    check_channels(parts, also_variances=True)
    if parts.takes_guidance:
        raise ValueError(f"{parts.network_folder} takes a guidance: supported is Sana, not Sana Sprint")
    gemma = parts.parts["text_encoder"]
    check_text_width(parts, "caption_channels", gemma.config["hidden_size"], ("text_encoder",))
    rope = gemma.config.get("rope_parameters") or {"rope_theta": gemma.config.get("rope_theta", _ROPE_THETA)}
    is_usual = isinstance(rope, dict) and rope.get("rope_theta") == _ROPE_THETA
    if not is_usual or rope.get("rope_type", "default") != "default":
        raise ValueError(f"{gemma.folder} has positions of another kind ({shown(rope)}): supported are Gemma 2's own")


class Sana(LatentDiffusion):
    """Gemma's states with their mask. The network may also predict variances, in channels that are left out."""

    layout = Layout(
        family="sana",
        pipelines=("SanaPipeline",),
        network="transformer",
        networks=("SanaTransformer2DModel",),
        noising="flow",
        texts=(Text("text_encoder", "tokenizer", GEMMA_2),),
        autoencoders=("AutoencoderDC",),
        divides=patch_divides,
        check=_check,
    )

    def encode_text(self, text: Text, tokenizer: Any, encoder: Any, prompt: str) -> Encoded:
        """Gemma's last states, and which tokens are text. Texts are in small letters, as the model was trained."""
        tokenizer.padding_side = "right"
        length = len(tokenizer.encode(INSTRUCTION)) + NUM_TOKENS - 2
        tokens = tokenize(tokenizer, INSTRUCTION + prompt.lower().strip(), length)
        ids, mask = (tensor.to(self.device) for tensor in tokens)
        kept = [0, *range(1 - NUM_TOKENS, 0)]
        return encoder(ids, attention_mask=mask).last_hidden_state[0][kept], mask[0][kept].float()

    def combine(self, encoded: Mapping[str, Encoded]) -> Condition:
        """States and their mask."""
        states, mask = encoded["text_encoder"]
        return Condition(states, mask=mask)

    def empty_condition(self) -> Condition:
        """As many tokens as are kept."""
        width = self.folder.of_network("caption_channels")
        return Condition(
            torch.empty(1, NUM_TOKENS, width, device=self.device),
            mask=torch.ones(1, NUM_TOKENS, device=self.device),
        )

    def call(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition | None) -> Tensor:
        """One call of the transformer, which is told σ times 1000, times a scale of its own."""
        assert condition is not None
        prediction: Tensor = self.network(
            noisy_latents,
            encoder_hidden_states=condition.embeds,
            encoder_attention_mask=condition.mask,
            timestep=timesteps * self.network.config.timestep_scale,
        ).sample
        return prediction[:, : noisy_latents.shape[1]]
