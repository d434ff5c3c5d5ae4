"""TF32 is what we say, and is left as it was, by whichever way another library has set it."""

from collections.abc import Callable, Iterator

import pytest
import torch

from extract.models.number_formats import split_formats, tf32

matmul, cudnn, everything = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends


def precisions() -> list[str]:
    return [part.fp32_precision for part in (everything, matmul, cudnn, cudnn.conv, cudnn.rnn)]


@pytest.fixture(autouse=True)
def left_as_it_was() -> Iterator[None]:
    parts = (everything, matmul, cudnn, cudnn.conv, cudnn.rnn)
    older, before = (matmul.allow_tf32, cudnn.allow_tf32), [part.fp32_precision for part in parts]
    yield
    everything.fp32_precision = "none"
    matmul.allow_tf32, cudnn.allow_tf32 = older
    for part, value in zip(parts, before, strict=True):
        part.fp32_precision = value


def by_the_newer_way() -> None:
    everything.fp32_precision = "tf32"


def by_parts() -> None:
    matmul.fp32_precision, cudnn.conv.fp32_precision = "tf32", "ieee"


def by_the_older_way() -> None:
    matmul.allow_tf32 = cudnn.allow_tf32 = True


OTHERS = {"untouched": lambda: None, "all": by_the_newer_way, "parts": by_parts, "older": by_the_older_way}


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
def test_tf32_is_what_we_say_and_then_what_it_was(others: Callable[[], None], allowed: bool) -> None:
    others()
    before = precisions()
    with tf32(allowed):
        assert {part.fp32_precision for part in (matmul, cudnn.conv)} == {"tf32" if allowed else "ieee"}
        # The compiler and older libraries read these; torch raises where they contradict the newer ones.
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (allowed, allowed)
    assert precisions() == before


@pytest.mark.parametrize(
    ("compute_dtype", "parts"),
    [
        ("fp32", ("fp32", "fp32")),
        ("bf16", ("bf16", "bf16")),
        ("fp16", ("fp16", "fp32")),
        ("fp16/tf32", ("fp16", "tf32")),
        ("bf16/fp32", ("bf16", "fp32")),
    ],
)
def test_a_pair_is_of_network_and_autoencoder_and_single_names_stay_what_they_were(
    compute_dtype: str, parts: tuple[str, str]
) -> None:
    assert split_formats(compute_dtype) == parts
