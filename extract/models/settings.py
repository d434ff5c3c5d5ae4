"""What the JSON files of a model folder may say: known settings within bounds, whoever wrote them.

Libraries that are given a whole configuration do what it names: fetch code from a hub, import a package, quantize.
They are given the settings below instead. What is left out moves no value of a map.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from cache_schema import read_json

MAX_JSON_BYTES = 2**24
"""The list of a large model's weights has 200 kB."""
MAX_TOKENIZER_BYTES = 2**26
"""Of a file of a tokenizer; Gemma's vocabulary of 256,000 pieces has 34 MB."""
MAX_NUMBER = 2**20
MAX_ENTRIES = 128
"""Of a list; latents of today have up to 128 channels."""
MAX_LAYERS = 1024
"""Of a network: blocks times layers times transformers. SDXL's UNet has 60."""
MAX_BLOCKS = 16
MAX_POSITIONS = 2**28
"""Of a transformer's table; that of Stable Diffusion 3.5 medium has 226 million numbers."""
MAX_TIMESTEPS = 10**6
USUAL_TIMESTEPS = 1000
"""Where a schedule does not say how many it has."""
_WORD = re.compile(r"[\w.\-]{0,100}")
_LAYERS = ("layers_per_block", "transformer_layers_per_block", "reverse_transformer_layers_per_block")
_WHOLE = (
    *("in_channels", "out_channels", "latent_channels", "hidden_size", "max_position_embeddings", "vocab_size"),
    *("patch_size", "joint_attention_dim", "pooled_projection_dim", "caption_channels", "d_model", "projection_dim"),
    *(
        "addition_time_embed_dim",
        "num_class_embeds",
        "num_embeds_ada_norm",
        "num_layers",
        "num_single_layers",
        "pos_embed_max_size",
    ),
)
_SCALES = ("scaling_factor", "shift_factor")
_WIDTHS = ("block_out_channels", "encoder_block_out_channels")
_COUNTED = (
    *(*_LAYERS, "num_hidden_layers", "num_encoder_blocks", "num_decoder_blocks", "num_layers", "num_single_layers"),
    *("encoder_layers_per_block", "decoder_layers_per_block"),
)

CLIP_SETTINGS = (
    *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads"),
    *("max_position_embeddings", "hidden_act", "layer_norm_eps", "attention_dropout", "initializer_range"),
    *("initializer_factor", "pad_token_id", "bos_token_id", "eos_token_id"),
)
"""Of a `CLIPTextConfig`."""
T5_SETTINGS = (
    *("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "feed_forward_proj", "dropout_rate"),
    *("relative_attention_num_buckets", "relative_attention_max_distance", "layer_norm_epsilon"),
    *("initializer_factor", "pad_token_id", "eos_token_id"),
)
"""Of a `T5Config`."""
GEMMA_2_SETTINGS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "hidden_activation", "max_position_embeddings", "rms_norm_eps", "attention_bias"),
    *("attention_dropout", "query_pre_attn_scalar", "sliding_window", "layer_types", "attn_logit_softcapping"),
    *("use_bidirectional_attention", "initializer_range", "pad_token_id", "bos_token_id", "eos_token_id"),
)
"""Of a `Gemma2Config`."""
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json", "special_tokens_map.json", "added_tokens.json")
TOKENIZER_SETTINGS = (
    *("model_max_length", "add_prefix_space", "do_lower_case", "errors", "clean_up_tokenization_spaces"),
    *("bos_token", "eos_token", "unk_token", "pad_token", "add_bos_token", "add_eos_token"),
    *("additional_special_tokens", "extra_special_tokens", "added_tokens_decoder", "split_special_tokens"),
    *("padding_side", "truncation_side"),
)
_BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")


def read_settings(path: Path) -> dict[str, Any]:
    """The object of a JSON file of a model folder.

    Raises:
        ValueError: If it is no regular file, is larger than `MAX_JSON_BYTES`, or is damaged.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file: expected JSON")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes: expected at most {MAX_JSON_BYTES:,}")
    return read_json(path)


def known_settings(path: Path, settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The settings of these names, as far as they are given.

    Args:
        path: Where they are from, for messages.
        settings: A whole configuration.
        names: Of the settings that a network has. Others have no influence on it.

    Raises:
        ValueError: If one is neither a number, a word, a switch nor a list of them, or is beyond a bound.
    """
    known = {name: settings[name] for name in names if name in settings}
    for name, value in known.items():
        for one in _flat(path, name, value):
            _check_value(path, name, one)
    layers = [max(_numbers(known.get(name)), default=1) for name in _LAYERS]
    blocks = known.get("block_out_channels")
    num_blocks = len(blocks) if isinstance(blocks, list) else 1
    counts = [num_blocks * layers[0] * max(layers[1:])]
    counts += [sum(_numbers(known.get(name))) for name in _COUNTED]
    if max(counts) > MAX_LAYERS:
        raise ValueError(f"{path} describes a network of {max(counts):,} layers: expected at most {MAX_LAYERS:,}")
    _check_positions(path, known)
    return known


def _check_positions(path: Path, known: Mapping[str, Any]) -> None:
    """Check the size of a transformer's table of positions, which is computed and not read from its weights."""
    if "patch_size" not in known:
        return
    names = ("num_attention_heads", "attention_head_dim", "sample_size")
    heads, width, side = (max(_numbers(known.get(name)), default=1) for name in names)
    side = max(_numbers(known.get("pos_embed_max_size")), default=side)
    if (size := heads * width * side**2) > MAX_POSITIONS:
        raise ValueError(f"{path} describes positions of {size:,} numbers: expected at most {MAX_POSITIONS:,}")


def check_shapes(path: Path, settings: Mapping[str, Any]) -> None:
    """Check what shapes and scales of latents follow from.

    Raises:
        ValueError: If a value is of another kind, or beyond a bound.
    """
    for name in _WHOLE:
        _expect(path, name, settings.get(name), settings.get(name) is None or _is_whole(settings[name], 1, MAX_NUMBER))
    for name in _SCALES:
        _expect(path, name, settings.get(name), settings.get(name) is None or _is_number(settings[name]))
    for name in _WIDTHS:
        if (widths := settings.get(name)) is not None:
            is_good = isinstance(widths, list) and 1 <= len(widths) <= MAX_BLOCKS
            _expect(path, name, widths, is_good and all(_is_whole(width, 1, MAX_NUMBER) for width in widths))


def schedule_settings(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the noise schedule follows from, out of any sampler's configuration.

    Raises:
        ValueError: If a value is of another kind, or beyond a bound.
    """
    # As diffusers has it: what the saving class had by default is left to the loading one.
    of_other_class = settings.get("_use_default_values")
    left_out = of_other_class if isinstance(of_other_class, list) else []
    checks: dict[str, Callable[[Any], bool]] = {
        "num_train_timesteps": lambda value: _is_whole(value, 1, MAX_TIMESTEPS),
        "steps_offset": lambda value: _is_whole(value, 0, MAX_TIMESTEPS),
        "beta_start": _is_beta,
        "beta_end": _is_beta,
        "beta_schedule": lambda value: value in _BETA_SCHEDULES,
        "trained_betas": lambda value: isinstance(value, list) and all(map(_is_beta, value)),
        "prediction_type": _is_word,
        "rescale_betas_zero_snr": lambda value: isinstance(value, bool),
        "set_alpha_to_one": lambda value: isinstance(value, bool),
    }
    given = {name: settings[name] for name in checks if settings.get(name) is not None and name not in left_out}
    for name, value in given.items():
        _expect(path, name, value, checks[name](value))
    num_betas, num_steps = len(given.get("trained_betas", ())), given.get("num_train_timesteps", USUAL_TIMESTEPS)
    if num_betas not in (0, num_steps):
        raise ValueError(f"{path} has {num_betas} trained_betas for {num_steps} timesteps. Download it again")
    return given


def _flat(path: Path, name: str, value: Any, depth: int = 0) -> Iterable[Any]:
    """The value, or all values of a list of at most two levels."""
    if not isinstance(value, list):
        return (value,)
    _expect(path, name, value, len(value) <= MAX_ENTRIES and depth < 2)
    return list(chain.from_iterable(_flat(path, name, entry, depth + 1) for entry in value))


def _check_value(path: Path, name: str, value: Any) -> None:
    _expect(path, name, value, value is None or _is_number(value) or _is_word(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= MAX_NUMBER  # NaN is not


def _is_beta(value: Any) -> bool:
    return _is_number(value) and not isinstance(value, bool) and 0 <= value <= 1


def shown(value: Any) -> str:
    """A stranger's value in a message: one short line."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of many digits"
    return value[:60] if _is_word(value) and value else repr(value)[:60]


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _numbers(value: Any) -> list[int]:
    """All whole numbers of a setting that was checked."""
    values = value if isinstance(value, list) else [value]
    return [one for entry in values for one in (entry if isinstance(entry, list) else [entry]) if isinstance(one, int)]


def _expect(path: Path, name: str, value: Any, is_good: bool) -> None:
    if not is_good:
        raise ValueError(f"{path}: {name} is {shown(value)}, which no model of this kind has. Download it again")
