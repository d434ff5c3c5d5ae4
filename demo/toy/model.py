"""The toy latent diffusion model, untrained: diffusers' own classes with tiny widths, and its prompts."""

import json
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

IMAGE_SIZE_PX = 64
PROMPT_TEMPLATE = "a photo of {class_name}"
GENERIC_PROMPT = "a photo"
PROMPT_TOKENS = 16


@dataclass(frozen=True)
class ToyConfig:
    """What decides the trained weights."""

    seed: int = 0
    vae_channels: tuple[int, ...] = (32, 64, 80)
    unet_channels: tuple[int, ...] = (48, 64, 80)
    latent_channels: int = 8
    vae_texture_weight: float = 1.5
    """Weight of the local mean of the gradient's size, against 1 of pixels and of their gradients."""
    vae_kl_weight: float = 1e-4
    vae_steps: int = 8000
    vae_batch_size: int = 16
    vae_learning_rate: float = 1.5e-3
    unet_steps: int = 6400
    unet_batch_size: int = 64
    unet_learning_rate: float = 1.5e-3
    empty_prompt_fraction: float = 0.15
    generic_prompt_fraction: float = 0.10
    ema_decay: float = 0.999
    crops_per_photo: int = 12


def build_tokenizer(texts: list[str]) -> CLIPTokenizer:
    """Learn a byte-level BPE vocabulary in CLIP's form from a few texts."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    learner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        special_tokens=[*special, *(c + "</w>" for c in alphabet)],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(m) for m in learned["merges"]]
    return CLIPTokenizer(vocab=learned["vocab"], merges=merges, model_max_length=PROMPT_TOKENS)


def build_pipeline(config: ToyConfig, class_names: list[str]) -> StableDiffusionPipeline:
    """The untrained model: diffusers' own classes with tiny widths and Stable Diffusion's noise schedule."""
    torch.manual_seed(config.seed)
    tokenizer = build_tokenizer(
        [GENERIC_PROMPT] + [PROMPT_TEMPLATE.format(class_name=c) for c in sorted(set(class_names))]
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=PROMPT_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(config.vae_channels),
        up_block_types=("UpDecoderBlock2D",) * len(config.vae_channels),
        block_out_channels=config.vae_channels,
        layers_per_block=1,
        latent_channels=config.latent_channels,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE_PX,
        mid_block_add_attention=False,
    )
    depth = len(config.unet_channels) - 1
    unet = UNet2DConditionModel(
        sample_size=IMAGE_SIZE_PX // 2 ** (len(config.vae_channels) - 1),
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.unet_channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * depth,
        up_block_types=("CrossAttnUpBlock2D",) * depth + ("UpBlock2D",),
        cross_attention_dim=text_encoder.config.hidden_size,
        attention_head_dim=16,
        norm_num_groups=16,
    )
    scheduler = DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder.eval().requires_grad_(False),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def encode_prompts(pipeline: StableDiffusionPipeline, names: list[str]) -> dict[str, Tensor]:
    """Text-encoder output (tokens, dim) for "", the generic prompt, and each class's prompt."""
    texts = [n if n in ("", GENERIC_PROMPT) else PROMPT_TEMPLATE.format(class_name=n) for n in names]
    ids = pipeline.tokenizer(texts, padding="max_length", max_length=PROMPT_TOKENS, return_tensors="pt").input_ids
    return dict(zip(names, pipeline.text_encoder(ids).last_hidden_state, strict=True))
