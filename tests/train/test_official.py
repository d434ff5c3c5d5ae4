"""The authors' weights: a state dict with their names and shapes loads strictly and lands in the right places."""

import pytest
import timm
import torch
from timm.models.byobnet import checkpoint_filter_fn
from torch import Tensor

from train.model import LareClassifier
from train.official import convert_state_dict


def _batch_norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.{part}": (channels,) for part in ("weight", "bias")}
    shapes |= {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
    return shapes | {f"{name}.num_batches_tracked": ()}


def _clip_visual_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of OpenAI's CLIP RN50 visual tower."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (before, after) in enumerate([(3, 32), (32, 32), (32, 64)], start=1):
        shapes[f"conv{number}.weight"] = (after, before, 3, 3)
        shapes |= _batch_norm(f"bn{number}", after)
    before = 64
    for stage, (depth, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, before, 1, 1)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            shapes[f"{name}.conv3.weight"] = (4 * width, width, 1, 1)
            shapes |= _batch_norm(f"{name}.bn1", width) | _batch_norm(f"{name}.bn2", width)
            shapes |= _batch_norm(f"{name}.bn3", 4 * width)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, before, 1, 1)
                shapes |= _batch_norm(f"{name}.downsample.1", 4 * width)
            before = 4 * width
    shapes["attnpool.positional_embedding"] = (50, 2048)
    for name, width in (("q_proj", 2048), ("k_proj", 2048), ("v_proj", 2048), ("c_proj", 1024)):
        shapes |= {f"attnpool.{name}.weight": (width, 2048), f"attnpool.{name}.bias": (width,)}
    return shapes


def _official_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of CLipClassifierWMapV6, the text tower reduced to a few of its names."""
    shapes: dict[str, tuple[int, ...]] = {f"clip_model.visual.{k}": v for k, v in _clip_visual_shapes().items()}
    shapes |= {
        "clip_model.positional_embedding": (77, 8),
        "clip_model.text_projection": (8, 8),
        "clip_model.logit_scale": (),
        "clip_model.transformer.resblocks.0.ln_1.weight": (8,),
        "clip_model.token_embedding.weight": (8, 8),
        "clip_model.ln_final.weight": (8,),
        "conv.weight": (8, 4, 1, 1),
        "conv.bias": (8,),
        "conv_align.weight": (1024, 4, 1, 1),
        "conv_align.bias": (1024,),
        "attn_pool.positional_embedding": (197, 1024),
        "attn_pool.layer_norm.weight": (1024,),
        "attn_pool.layer_norm.bias": (1024,),
        "channel_align.fc.0.weight": (128, 4),
        "channel_align.fc.2.weight": (1024, 128),
        "fc.weight": (2, 3072),
        "fc.bias": (2,),
    }
    for name, (after, before) in {"q": (512, 1024), "k": (512, 1024), "v": (512, 1024), "o": (1024, 512)}.items():
        shapes[f"attn_pool.attention.fc_{name}.weight"] = (after, before)
        shapes[f"attn_pool.attention.fc_{name}.bias"] = (after,)
    return shapes


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=rng) for name, shape in _official_shapes().items()}


def test_official_weights_load_strictly(official: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        model = LareClassifier(normalization="imagenet")
    model.load_state_dict(convert_state_dict(official), strict=True, assign=True)
    assert model.head.weight is not None
    assert torch.equal(model.head.weight, official["fc.weight"])
    assert torch.equal(model.spatial.query.weight, official["attn_pool.attention.fc_q.weight"])
    assert torch.equal(model.spatial.error_bias.weight, official["conv.weight"])
    assert torch.equal(model.channel.weights[2].weight, official["channel_align.fc.2.weight"])


def test_clip_part_agrees_with_timms_own_conversion(official: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        net = timm.create_model("resnet50_clip")
    visual = {k.removeprefix("clip_model."): v for k, v in official.items() if k.startswith("clip_model.visual.")}
    expected = checkpoint_filter_fn(visual, net)
    converted = convert_state_dict(official)
    ours = {k.removeprefix("backbone.net."): v for k, v in converted.items() if k.startswith("backbone.net.")}
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_prefix_of_data_parallel_is_removed(official: dict[str, Tensor]) -> None:
    wrapped = {f"module.{name}": value for name, value in official.items()}
    assert convert_state_dict(wrapped).keys() == convert_state_dict(official).keys()


def test_foreign_weights_are_refused(official: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"1 unknown names, the first is 'attn_pool\.q_proj\.weight'"):
        convert_state_dict({**official, "attn_pool.q_proj.weight": torch.zeros(1)})
