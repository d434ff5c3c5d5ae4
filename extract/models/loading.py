"""Networks and tokenizers, built by known settings and filled from the files that were hashed, and no others.

Libraries choose files of a folder by rules of their own, and do more than load: adapters, kernels, quantization. They
are shown a folder that holds the checked settings, and links to the checked files under the names that they expect.
"""

import inspect
import json
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from extract.models.kinds import KINDS, SENTENCEPIECE, config_class, network_class, tokenizer_class
from extract.models.parts import Component
from extract.models.sentencepiece import read_pieces
from extract.models.settings import (
    TOKENIZER_FILES,
    TOKENIZER_SETTINGS,
    known_settings,
    read_settings,
)
from extract.models.weights import read_tensors

_TIED = {"encoder.embed_tokens.weight": "shared.weight"}
MAX_NAMED = 5
"""Tensors that a message names."""
_OLD_ATTENTION = re.compile(r"(attentions\.\d+)\.(query|key|value|proj_attn)\.")
_NEW_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names in autoencoders that were saved before 2023, which diffusers understands."""


def settings_of(part: Component) -> dict[str, Any]:
    """The settings that a part's network is built by.

    Raises:
        ValueError: If one is beyond its bound.
    """
    path = part.folder / "config.json"
    names = KINDS[part.class_name].settings
    if names is None:
        names = tuple(inspect.signature(network_class(part.class_name).__init__).parameters)[1:]
    return known_settings(path, part.config, names)


def build(class_name: str, settings: dict[str, Any]) -> Any:
    """A network with random weights.

    Args:
        class_name: One of `KINDS`.
        settings: From `settings_of`.
    """
    network, config = network_class(class_name), config_class(class_name)
    return network(**settings) if config is None else network(config(**settings))


def build_without_numbers(part: Component, dtype: torch.dtype = torch.float32) -> Any:
    """A part's network with shapes alone, on the meta device, in float32 whatever is asked for.

    Raises:
        ValueError: If no network can be built by its settings.
    """
    settings = settings_of(part)
    try:
        with torch.device("meta"):
            return build(part.class_name, settings).requires_grad_(False)
    except Exception as error:  # settings that contradict each other raise nearly any class
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{part.folder / 'config.json'} describes no {part.class_name} ({type(error).__name__}: {reason})"
        ) from error


def check_part(part: Component) -> None:
    """Check that a part's weights are those of its network, by names and sizes; no weights are read.

    Raises:
        ValueError: If no network can be built by its settings, or tensors are missing, of another size or surplus.
    """
    network: nn.Module = build_without_numbers(part)
    expected = {_usual_name(name): tensor.numel() for name, tensor in network.state_dict().items()}
    found = {_usual_name(name): count for name, count in read_tensors(part.weights).items()}
    found = {name: count for name, count in found.items() if not _is_counter(name)}
    other = [name for name in expected.keys() & found.keys() if expected[name] != found[name]]
    _refuse_tensors(part, expected.keys() - found.keys(), found.keys() - expected.keys(), other)


def load_part(part: Component, dtype: torch.dtype) -> Any:
    """A part's network with its weights, in evaluation mode, without gradients.

    Raises:
        ValueError: If tensors are missing, surplus or of another shape.
    """
    is_text = KINDS[part.class_name].library == "transformers"
    # transformers has low_cpu_mem_usage of its own; True of diffusers needs accelerate.
    options = {} if is_text else {"low_cpu_mem_usage": False}
    with _shown_part(part) as folder:
        try:
            network, info = network_class(part.class_name).from_pretrained(
                folder,
                torch_dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).replace(str(folder), part.folder.name).split())[:300]
            raise ValueError(f"{part.folder} cannot be loaded ({type(error).__name__}: {reason})") from error
    surplus = [name for name in info["unexpected_keys"] if not _is_counter(name)]
    _refuse_tensors(part, info["missing_keys"], surplus, [str(name) for name in info["mismatched_keys"]])
    # Asked for above too, but diffusers 0.42 leaves some classes in fp32, and its own `to` warns of it.
    return nn.Module.to(network, dtype).eval().requires_grad_(False)


def load_tokenizer(folder: Path, encoder: str) -> Any:
    """A tokenizer from a folder, with its known files and settings alone.

    Args:
        folder: The tokenizer.
        encoder: Class of the text encoder that it is for.

    Raises:
        ValueError: If they make no tokenizer.
    """
    kind = tokenizer_class(encoder)
    with tempfile.TemporaryDirectory(prefix="lare-tokenizer-") as shown:
        for name in TOKENIZER_FILES:
            if (folder / name).is_file():
                Path(shown, name).symlink_to((folder / name).resolve())
        config, settings = folder / "tokenizer_config.json", dict[str, Any]()
        if config.is_file():
            settings = {name: value for name, value in read_settings(config).items() if name in TOKENIZER_SETTINGS}
            Path(shown, config.name).write_text(json.dumps(settings | {"tokenizer_class": kind.__name__}))
        try:
            if kind.__name__ == "T5Tokenizer" and not (folder / "tokenizer.json").is_file():
                return _t5_tokenizer(kind, folder, settings)
            return kind.from_pretrained(shown, local_files_only=True)
        except Exception as error:  # its Rust library raises Exception itself
            reason = " ".join(str(error).replace(shown, folder.name).split())[:300]
            raise ValueError(f"{folder} holds no {kind.__name__} ({type(error).__name__}: {reason})") from error


def _t5_tokenizer(kind: Any, folder: Path, settings: dict[str, Any]) -> Any:
    """T5's tokenizer of a SentencePiece file, whose library is not needed for it."""
    pieces, table = read_pieces(folder / SENTENCEPIECE)
    special = {name: settings[name] for name in ("eos_token", "unk_token", "pad_token") if name in settings}
    named = {name: token["content"] if isinstance(token, dict) else token for name, token in special.items()}
    return kind(vocab=pieces, _spm_precompiled_charsmap=table or None, extra_ids=0, **named)


@contextmanager
def _shown_part(part: Component) -> Iterator[Path]:
    """A folder with a part's checked settings, and its weights under the names that the library looks for."""
    kind = KINDS[part.class_name]
    stem = kind.stem
    mark = {"_class_name": part.class_name} if kind.config is None else {"architectures": [part.class_name]}
    with tempfile.TemporaryDirectory(prefix="lare-model-") as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(settings_of(part) | mark))
        files = {
            f"{stem}{f'-{i:05d}-of-{len(part.weights):05d}' if len(part.weights) > 1 else ''}.safetensors": file
            for i, file in enumerate(part.weights, start=1)
        }
        for shown, file in files.items():
            (folder / shown).symlink_to(file.resolve())
        if len(files) > 1:
            listed = {tensor: shown for shown, file in files.items() for tensor in read_tensors([file])}
            content = {"metadata": {}, "weight_map": listed}
            (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(content))
        yield folder


def _refuse_tensors(
    part: Component, missing: Collection[str], surplus: Collection[str], other: Collection[str]
) -> None:
    """Raise ValueError where a part's weights are not those of its network."""
    found = {"missing": missing, "surplus": surplus, "of another size": other}
    parts = [f"{_name_some(names)} {what}" for what, names in found.items() if names]
    if parts:
        raise ValueError(
            f"{part.folder}: its weights are not those of the {part.class_name} in its config.json: "
            f"{'; '.join(parts)}. Download it again"
        )


def _name_some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:MAX_NAMED])
    more = len(names) - MAX_NAMED
    return f"{shown}{f' and {more} more' if more > 0 else ''} {'is' if len(names) == 1 else 'are'}"


def _usual_name(name: str) -> str:
    """A tensor's name as the libraries of today have it, without the prefix that transformers dropped.

    T5's word vectors have two names, of which files hold one or both.
    """
    newer = _OLD_ATTENTION.sub(lambda found: f"{found[1]}.{_NEW_ATTENTION[found[2]]}.", name)
    return _TIED.get(newer, newer.removeprefix("text_model."))


def _is_counter(name: str) -> bool:
    """Whether a tensor of old text encoders only counts positions."""
    return name.endswith("embeddings.position_ids")
