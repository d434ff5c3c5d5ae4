"""The classifier: its size, its variants, and what each of them reads."""

import pytest
import torch

from train.model import LareClassifier, MapNet

TINY = {"backbone": "resnet_tiny_clip", "image_size": 16, "map_channels": 2}


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(2, 3, 16, 16), torch.rand(2, 2, 8, 8)


def test_default_classifier_has_the_authors_number_of_parameters() -> None:
    with torch.device("meta"):
        model = LareClassifier()
    assert sum(p.numel() for p in model.parameters()) == 40_758_154


@pytest.mark.parametrize(
    ("options", "head_width"),
    [
        ({}, 128 + 128 + 128),
        ({"channel": False}, 128 + 128),
        ({"spatial": False}, 128 + 128),
        ({"spatial": False, "channel": False}, 128),
        ({"spatial": False, "channel": False, "concat": True}, 128 + 2 * 2 * 2),
    ],
)
def test_head_sees_what_is_switched_on(options: dict, head_width: int, inputs: tuple) -> None:
    model = LareClassifier(**TINY, **options).eval()
    assert model.head.in_features == head_width
    assert model(*inputs).shape == (2, 2)


def test_head_input_is_global_then_spatial_then_channel(inputs: tuple) -> None:
    model = LareClassifier(**TINY).eval()
    seen = []
    model.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(*inputs)
    feature_map, pooled = model.backbone(inputs[0])
    expected = torch.cat([pooled, model.spatial(feature_map, inputs[1]), model.channel(feature_map, inputs[1])], dim=1)
    torch.testing.assert_close(seen[0], expected)


def test_image_only_needs_no_map(inputs: tuple) -> None:
    model = LareClassifier(**TINY, spatial=False, channel=False).eval()
    assert not model.needs_lare
    torch.testing.assert_close(model(inputs[0]), model(*inputs))


def test_map_only_needs_no_image_and_has_no_backbone(inputs: tuple) -> None:
    model = LareClassifier(**TINY, image=False).eval()
    assert not model.needs_image
    assert not hasattr(model, "backbone")
    torch.testing.assert_close(model(lare=inputs[1]), model(*inputs))


def test_missing_inputs_are_named(inputs: tuple) -> None:
    model = LareClassifier(**TINY)
    with pytest.raises(ValueError, match="reads the LaRE map, and got none"):
        model(inputs[0])
    with pytest.raises(ValueError, match="reads the image, and got none"):
        model(lare=inputs[1])


def test_log_transform_is_the_raw_model_on_log_maps(inputs: tuple) -> None:
    raw = LareClassifier(**TINY).eval()
    logged = LareClassifier(**TINY, map_transform="log").eval()
    logged.load_state_dict(raw.state_dict())
    torch.testing.assert_close(logged(*inputs), raw(inputs[0], torch.log(1 + inputs[1])))
    assert not torch.allclose(logged(*inputs), raw(*inputs))


@pytest.mark.parametrize("size", [(28, 28), (14, 14), (9, 5)])
def test_map_net_reads_any_map_size(size: tuple[int, int]) -> None:
    assert MapNet(map_channels=3).eval()(torch.rand(1, 3, *size)).shape == (1, 2)


@pytest.mark.parametrize("options", [{}, {"image": False}])
def test_a_step_moves_every_parameter_but_the_inert_bias(options: dict, inputs: tuple) -> None:
    model = LareClassifier(**TINY, **options)
    for _ in range(2):  # zero-initialised residual branches pass a gradient on only once they have moved
        loss = torch.nn.functional.cross_entropy(model(*inputs), torch.tensor([0, 1]))
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without <= {"spatial.error_bias.bias", "backbone.net.head.k.bias"}


@pytest.mark.parametrize("options", [{}, {"map_transform": "log", "concat": True}, {"image": False}])
def test_the_whole_classifier_traces_as_one_graph(options: dict, inputs: tuple) -> None:
    model = LareClassifier(**TINY, **options).eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), model(*inputs))


def test_batch_of_one_trains(inputs: tuple) -> None:
    model = LareClassifier(**TINY)
    assert model(inputs[0][:1], inputs[1][:1]).shape == (1, 2)


@pytest.mark.parametrize("options", [{}, {"image": False}])
def test_logits_are_float32_under_autocast_so_that_scores_stay_distinct(options: dict) -> None:
    torch.manual_seed(0)
    model = LareClassifier(**TINY, **options).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.rand(200, 3, 16, 16), torch.rand(200, 2, 8, 8))
    assert logits.dtype == torch.float32
    assert len(torch.unique(logits[:, 1] - logits[:, 0])) > 190
