"""What a model needs of a GPU, counted without one."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from bench.data.families import write_configurations
from bench.families import cost, format_table
from extract.models.folder import ModelFolder
from extract.models.memory import _peak, count_parameters, estimate, text_memory

MEGABYTE = torch.empty(2**18, device="meta")


def test_a_call_holds_what_is_alive_at_one_time() -> None:
    assert _peak(lambda: MEGABYTE + 1) == 2**20
    assert _peak(lambda: [MEGABYTE + 1 for _ in range(3)]) == 3 * 2**20

    def one_after_the_other() -> None:
        values = MEGABYTE
        for _ in range(5):
            values = values + 1

    assert _peak(one_after_the_other) == 2 * 2**20  # the last one, and the one before
    assert _peak(lambda: (MEGABYTE + 1).reshape(2, -1)[0].view(-1)) == 2**20  # views hold nothing of their own


def test_attention_is_counted_without_its_matrix_of_scores() -> None:
    tokens = torch.empty(1, 2, 4096, 8, device="meta")
    assert _peak(lambda: F.scaled_dot_product_attention(tokens, tokens, tokens)) == tokens.nbytes


def test_weights_and_calls_grow_as_they_do(families: Callable[[str], Path]) -> None:
    folder = ModelFolder.open(str(families("sd3")), with_weights=False)
    counts = count_parameters(folder)
    whole = ModelFolder.open(str(families("sd3")))
    assert counts["transformer"] == sum(
        tensor.numel() for tensor in load_file(*whole.parts["transformer"].weights).values()
    )
    assert counts["vae_encoder"] < counts["vae"]
    one, four = (estimate(folder, [64, 72, 128], (4, 0), size, "fp32") for size in (1, 4))
    assert [each.image_size for each in one] == [64, 128]  # 72 px do not suit the model
    assert one[0].memory_bytes < one[1].memory_bytes < four[1].memory_bytes and one[1].gmac == four[1].gmac


def test_memory_of_a_pair_is_that_of_its_parts(families: Callable[[str], Path]) -> None:
    folder = ModelFolder.open(str(families("sd3")), with_weights=False)

    def memory(compute_dtype: str) -> int:
        (each,) = estimate(folder, [64], (4, 0), 4, compute_dtype)
        return each.memory_bytes

    assert memory("fp16/tf32") == memory("fp16")  # whose autoencoder is in fp32
    assert memory("bf16") < memory("bf16/tf32") < memory("fp32") == memory("tf32/fp32")


def test_text_encoders_have_a_moment_of_their_own(families: Callable[[str], Path]) -> None:
    folder = ModelFolder.open(str(families("sd3")), with_weights=False)
    largest = max(count for name, count in count_parameters(folder).items() if name.startswith("text"))
    assert text_memory(folder, "fp32") == 4 * largest and text_memory(folder, "bf16") == 2 * largest
    assert text_memory(ModelFolder.open(str(families("dit")), with_weights=False), "fp32") == 0
    with tempfile.TemporaryDirectory() as name:
        published = ModelFolder.open(str(write_configurations("PixArt-Σ, 1024 px", Path(name))), with_weights=False)
        (whole,), (half,) = (estimate(published, [256], (4, 0), 1, "bf16", text) for text in ("fp32", "bf16"))
    assert (whole.memory_bytes / 1e9, half.memory_bytes / 1e9) == pytest.approx((19.05, 9.52), abs=0.01)


def test_published_models_have_their_known_weights_and_operations() -> None:
    costs = {name: cost(name) for name in ("Stable Diffusion 1.5", "Stable Diffusion XL")}
    assert [each.network_parameters for each in costs.values()] == [859_520_964, 2_567_463_684]
    assert costs["Stable Diffusion 1.5"].sizes[0].gmac == pytest.approx(496.6, abs=0.1)
    shown = Path("docs/SCALE.md").read_text()
    for line in format_table(costs).splitlines():
        assert line in shown


def test_sana_has_its_published_weights(tmp_path: Path) -> None:
    folder = ModelFolder.open(str(write_configurations("Sana 1.6B, 1024 px", tmp_path)), with_weights=False)
    counts = count_parameters(folder)
    assert (counts["transformer"], counts["text_encoder"]) == (1_604_462_752, 2_614_341_888)
    assert folder.latent_shape(1024) == (32, 32, 32)
    line = "| Sana 1.6B, 1024 px | 1.60 | 2.61 | 0.77 (1.6) | 2.32 (1.1) | 8.52 (0.7) | 10.5 / 10.5 / 10.5 |"
    assert line in Path("docs/SCALE.md").read_text()
