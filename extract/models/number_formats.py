"""Number formats of a model's networks: one for all, or a pair of predicting network and autoencoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

TORCH_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def split_formats(compute_dtype: str) -> tuple[str, str]:
    """Format of the network that predicts, and of the autoencoder.

    fp16 alone leaves the autoencoder in fp32, as its activations overflow in some models.
    """
    network, _, autoencoder = compute_dtype.partition("/")
    return network, autoencoder or ("fp32" if network == "fp16" else network)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Switch TF32 for matrix products and convolutions, whatever another library has set in either of torch's two ways.

    torch's default differs between the two. It raises an error where its older switches are read, also by its own
    compiler, while they and the newer ones (`fp32_precision`) say different things.
    """
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    parts: tuple[Any, ...] = (matmul, getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None))
    newer = [part for part in parts if hasattr(part, "fp32_precision")]  # since torch 2.9
    before = [part.fp32_precision for part in newer]
    older = [(part, _older_switch(part)) for part in (matmul, cudnn)]
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    for part in newer:  # turned off by the older switch, they would take what is set for all parts
        part.fp32_precision = "tf32" if allowed else "ieee"
    try:
        yield
    finally:
        for part, was in older:
            if was is not None:
                part.allow_tf32 = was
        for part, value in zip(newer, before, strict=True):
            part.fp32_precision = value


def _older_switch(part: Any) -> bool | None:
    """What it says; None where the newer ones contradict it."""
    try:
        return bool(part.allow_tf32)
    except RuntimeError:
        return None
