"""What a model needs of a GPU: its weights, and the most that a call holds besides them, by shapes alone."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from extract.models.costs import count_macs, model_without_numbers
from extract.models.loading import build_without_numbers
from extract.models.number_formats import TORCH_DTYPES, split_formats
from extract.models.parts import VAE, ModelParts
from extract.noising import NoiseLevel

BYTES = {name: dtype.itemsize for name, dtype in TORCH_DTYPES.items()}
"""Of a number by number format."""


@dataclass(frozen=True)
class Needed:
    """What an image of one size costs."""

    image_size: int
    gmac: float
    """10⁹ multiply-accumulates an image."""
    memory_bytes: int
    """Of a GPU, for a batch, at the largest moment: a text encoder alone, or the other networks' weights and the most
    that a call holds besides them. What libraries and the allocator hold, some GB, comes on top."""


def count_parameters(folder: ModelParts) -> dict[str, int]:
    """Folder of a part → the numbers that its weights hold.

    The autoencoder's without its decoder are there as "vae_encoder".
    """
    counts = {}
    for name, part in folder.parts.items():
        network = build_without_numbers(part)
        counts[name] = _count(network)
        if name == VAE:
            counts["vae_encoder"] = counts[name] - _count(network.decoder)
    return counts


def _count(network: Any) -> int:
    return sum(tensor.numel() for tensor in {id(t): t for t in network.state_dict(keep_vars=True).values()}.values())


def text_memory(folder: ModelParts, text_dtype: str) -> int:
    """Bytes of the largest text encoder's weights, which the host holds too while they are loaded; 0 without text."""
    parameters = count_parameters(folder)
    return BYTES[text_dtype] * max((parameters.get(text.folder, 0) for text in folder.layout.texts), default=0)


def estimate(
    folder: ModelParts,
    image_sizes: Sequence[int],
    calls: Sequence[int],
    batch_size: int,
    compute_dtype: str,
    text_dtype: str = "fp32",
) -> list[Needed]:
    """Operations and memory at several sizes.

    Args:
        folder: The model; no weights are read.
        image_sizes: Sides in px; those that do not suit the model are left out.
        calls: Of network and decoder for an image.
        batch_size: Images at a time; all their draws are one call of the network.
        compute_dtype: Number formats, as of an extraction.
        text_dtype: That of text encoders.
    """
    found, parameters, texts = [], count_parameters(folder), text_memory(folder, text_dtype)
    for size in image_sizes:
        try:
            folder.latent_shape(size)
        except ValueError:
            continue
        memory = max(_memory(folder, size, calls, batch_size, compute_dtype, parameters), texts)
        found.append(Needed(size, count_macs(folder, size, *calls) / 1e9, memory))
    return found


def _memory(
    folder: ModelParts,
    image_size: int,
    calls: Sequence[int],
    batch_size: int,
    compute_dtype: str,
    parameters: Mapping[str, int],
) -> int:
    """Bytes of the largest moment of a call of network or autoencoder."""
    model, meta = model_without_numbers(folder), torch.device("meta")
    width, vae_width = (BYTES[name] for name in split_formats(compute_dtype))
    images = torch.empty(batch_size, 3, image_size, image_size, device=meta)
    rows = torch.empty(batch_size * max(calls[0], 1), *folder.latent_shape(image_size), device=meta)
    # Counted in fp32: what a call holds has the width of its numbers.
    weights, in_calls = 0.0, [0.0]
    if folder.vae is not None:
        has_decoder = len(calls) > 1 and calls[1] > 0
        weights += vae_width * parameters[VAE if has_decoder else "vae_encoder"]
        in_calls.append(vae_width / 4 * _peak(lambda: model.vae.encode(images)))
        if has_decoder:
            in_calls.append(vae_width / 4 * _peak(lambda: model.vae.decode(rows[:batch_size])))
    if folder.network is not None:
        weights += width * parameters[folder.layout.network]
        condition = model.empty_condition() if folder.has_text else None
        level = NoiseLevel(0.0 if folder.is_flow else 0, torch.ones(()), torch.zeros(()))
        in_calls.append(width / 4 * _peak(lambda: model.predict(rows, level, condition)))
    return int(weights + max(in_calls))


def _peak(call: Callable[[], object]) -> int:
    """The most bytes that tensors made in a call hold at one time."""
    with torch.no_grad(), _FusedAttention(), _Held() as held:
        call()
    return int(held.peak)


class _FusedAttention(TorchFunctionMode):
    """Attention as a GPU's kernels do it, which never hold the whole matrix of scores."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            query, _, value = args[:3] if len(args) > 2 else (kwargs[name] for name in ("query", "key", "value"))
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


class _Held(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, until they are dropped."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(outputs):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return outputs

    def _add(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._seen and self._seen[key]() is storage:
            return

        def drop(_: Any) -> None:
            self.now -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, drop)
        self.now += size
        self.peak = max(self.peak, self.now)
