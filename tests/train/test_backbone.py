"""The backbone: shapes, one pass, normalisation, local weights, freezing."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import load_state_dict
from torch import Tensor

from train.backbone import ImageBackbone, normalize


@pytest.fixture(scope="module")
def resnet50() -> ImageBackbone:
    torch.manual_seed(0)
    return ImageBackbone("resnet50_clip", image_size=64).eval()


def test_resnet50_clip_gives_the_third_stage_and_the_pooled_vector(resnet50: ImageBackbone) -> None:
    feature_map, pooled = resnet50(torch.rand(1, 3, 64, 64))
    assert feature_map.shape == (1, 1024, 4, 4) == (1, resnet50.feature_channels, *resnet50.grid)
    assert pooled.shape == (1, 1024) == (1, resnet50.pooled_features)


def test_resnet50_clip_at_224_px_has_a_14_by_14_grid() -> None:
    with torch.device("meta"):
        backbone = ImageBackbone("resnet50_clip")
    assert backbone.grid == (14, 14)


def test_tiny_backbone_at_56_px_is_small_and_has_a_7_by_7_grid() -> None:
    backbone = ImageBackbone("resnet_tiny_clip", image_size=56).eval()
    feature_map, pooled = backbone(torch.rand(2, 3, 56, 56))
    assert feature_map.shape == (2, backbone.feature_channels, 7, 7)
    assert pooled.shape == (2, backbone.pooled_features)
    assert sum(p.numel() for p in backbone.parameters()) < 600_000


def test_every_stage_runs_once_and_pooling_is_timms_own(resnet50: ImageBackbone) -> None:
    calls = []
    hooks = [
        stage.register_forward_hook(lambda *_, number=number: calls.append(number))
        for number, stage in enumerate(resnet50.net.stages)
    ]
    image = torch.rand(1, 3, 64, 64)
    _, pooled = resnet50(image)
    for hook in hooks:
        hook.remove()
    assert calls == [0, 1, 2, 3]
    torch.testing.assert_close(pooled, resnet50.net((image - resnet50.mean) / resnet50.std))


@pytest.mark.parametrize(
    ("normalization", "mean"), [("clip", (0.4815, 0.4578, 0.4082)), ("imagenet", (0.485, 0.456, 0.406))]
)
def test_images_are_normalised_inside(normalization: str, mean: tuple[float, ...]) -> None:
    backbone = ImageBackbone("resnet_tiny_clip", image_size=16, normalization=normalization).eval()
    seen = []
    backbone.net.stem.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone(torch.tensor(mean).view(1, 3, 1, 1).expand(1, 3, 16, 16))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 16, 16), atol=1e-3, rtol=0)


def test_bytes_and_fractions_give_the_same(resnet50: ImageBackbone) -> None:
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    for from_bytes, from_fractions in zip(resnet50(image), resnet50(image / 255), strict=True):
        torch.testing.assert_close(from_bytes, from_fractions)


def test_local_weights_are_loaded_by_timm(tmp_path: Path) -> None:
    source = timm.create_model("resnet50_clip", pretrained=False)
    weights = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), str(weights))
    backbone = ImageBackbone("resnet50_clip", pretrained=str(weights))
    for name, value in source.state_dict().items():
        assert torch.equal(backbone.net.state_dict()[name], value), name


class Marking:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_stranger_s_weights_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool) -> None:
    # As in older versions of timm.
    monkeypatch.setattr("timm.models._builder.load_state_dict", partial(load_state_dict, weights_only=False))
    weights, mark = tmp_path / "weights.pth", tmp_path / "program-ran"
    torch.save({"state_dict": {}, "epoch": Marking(mark)}, weights, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"weights\.pth', which cannot be read as weights alone: Weights only load"):
        ImageBackbone("resnet50_clip", pretrained=str(weights), image_size=64)
    assert not mark.exists()
    with pytest.raises(RuntimeError):
        timm.create_model("resnet50_clip", pretrained=True, pretrained_cfg_overlay={"file": str(weights)})
    assert mark.exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04", b"\xff" * 100])
def test_files_that_are_no_weights_are_told_in_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}', which cannot be read as weights alone: [^\n]*$"):
        ImageBackbone("resnet50_clip", pretrained=str(tmp_path / name), image_size=64)


def test_frozen_backbone_neither_learns_nor_moves_its_statistics() -> None:
    backbone = ImageBackbone("resnet_tiny_clip", image_size=16, freeze=True).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    feature_map, _ = backbone(torch.rand(2, 3, 16, 16))
    assert not feature_map.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert backbone.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "resnet51_clip"},
            "backbone is 'resnet51_clip', expected resnet_tiny_clip or one of timm's .*resnet50",
        ),
        ({"name": "resnet_tiny_clip", "pretrained": True}, "resnet_tiny_clip has no pretrained weights"),
        ({"pretrained": "nowhere.safetensors"}, "pretrained is 'nowhere.safetensors', which is neither"),
        ({"image_size": 100}, "image_size is 100, resnet50_clip needs a multiple of 32"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageBackbone(**settings)


MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
LAYOUTS = {
    "planes": lambda image: image.contiguous(),
    "channels last": lambda image: image.contiguous(memory_format=torch.channels_last),
    "cut out": lambda image: image.repeat(1, 1, 2, 2)[..., 3 : 3 + image.shape[2], 5 : 5 + image.shape[3]],
}


def random_bytes(height: int = 8, width: int = 6) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, height, width), dtype=np.uint8))


def constants(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return tuple(torch.tensor(values, dtype=dtype).view(1, 3, 1, 1) for values in (MEAN, STD))  # type: ignore[return-value]


def check_normalized(image: Tensor, normalized: Tensor, dtype: torch.dtype) -> None:
    """Every value within a few roundings of the exact one, which is at most 3 in size, and its parts at most 5."""
    expected = (image.double() / 255 - constants(torch.float64)[0]) / constants(torch.float64)[1]
    assert normalized.shape == image.shape and normalized.dtype == dtype
    assert (normalized.double() - expected).abs().max() < 10 * torch.finfo(dtype).eps


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_normalize_of_bytes_is_the_formula_in_every_layout_and_type(layout: str, dtype: torch.dtype) -> None:
    image = LAYOUTS[layout](random_bytes())
    before = image.clone()
    normalized = normalize(image, *constants(dtype))
    check_normalized(before, normalized, dtype)
    assert torch.equal(image, before)
    assert normalized.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_normalize_of_fractions_leaves_its_input_and_is_the_formula(dtype: torch.dtype) -> None:
    image, (mean, std) = random_bytes().to(dtype) / 255, constants(dtype)
    before = image.clone()
    assert torch.equal(normalize(image, mean, std), (before - mean) / std)
    assert torch.equal(image, before)


def test_normalize_of_one_pixel_of_one_image() -> None:
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    check_normalized(image, normalize(image, *constants(torch.float32)), torch.float32)


def test_normalize_under_autocast_keeps_full_precision() -> None:
    image = random_bytes()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check_normalized(image, normalize(image, *constants(torch.float32)), torch.float32)


def test_normalize_can_be_captured_whole() -> None:
    def traced(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        return normalize(image, mean, std)

    captured = torch.compile(traced, backend="aot_eager", fullgraph=True)
    for height, width in ((8, 6), (4, 4)):
        image = random_bytes(height, width)
        check_normalized(image, captured(image, *constants(torch.float32)), torch.float32)
