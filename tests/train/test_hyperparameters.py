"""Settings that weights bring: taken as the plain values that the code names, or refused."""

from typing import Any

import pytest

from train.hyperparameters import MAX_PX, read_precision, read_record, read_settings, read_view
from train.model import LareClassifier
from train.task import LareTask


def test_what_a_fit_stores_is_taken_as_it_is() -> None:
    stored = dict(LareTask(backbone="resnet_tiny_clip", image_size=16, learning_rate=1, map_transform="log").hparams)
    assert stored.keys() >= {"learning_rate", "schedule", "backbone", "map_transform"}
    assert read_settings(stored, LareTask, LareClassifier, others=False) == stored


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"backbone": {"class_path": "os.system"}}, "its backbone is .*, which is no value of that setting"),
        ({"image_size": True}, "its image_size is 'True'"),
        ({"image_size": MAX_PX + 1}, "its image_size is 4097: expected 1 … 4096"),
        ({"image_size": 0}, "expected 1 … 4096"),
        ({"map_channels": 10**9}, "its map_channels is 1000000000"),
        ({"learning_rate": float("nan")}, "its learning_rate is 'nan'"),
        ({"learning_rate": "1e-4"}, "its learning_rate"),
        ({"schedule": "linear"}, "its schedule"),
        ({"spatial": 1}, "its spatial"),
        ({"colour": 3}, "its settings name colour, which this version does not know"),
        ([], "no names and values"),
    ],
)
def test_other_values_are_refused(found: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_settings(found, LareTask, LareClassifier, others=False)


def test_other_weights_facts_and_permissions_are_not_taken() -> None:
    found = {"pretrained": "/dev/zero", "record": {"x": 1}, "allow_difference": ["timestep"], "spatial": False}
    assert read_settings(found, LareTask, LareClassifier, others=False) == {"spatial": False}


def test_a_view_is_one_that_a_datamodule_takes() -> None:
    assert read_view({"view": {"view": "native", "alignment": None, "crop_px": 16, "seed": 3}}) == {
        "view": "native",
        "crop_px": 16,
    }
    assert read_view(None) == read_view({}) == read_view("x") == {}
    for view in ({"view": "x"}, {"crop_px": "16"}, {"crop_px": 10**9}, {"alignment": ["whole"]}, ["canvas"]):
        with pytest.raises(ValueError, match="its "):
            read_view({"view": view})


def test_a_precision_is_one_of_a_trainer() -> None:
    assert read_precision({"precision": "bf16-mixed"}) == "bf16-mixed"
    assert read_precision({"precision": "x"}) is read_precision({"precision": ["16"]}) is read_precision(None) is None


def test_a_record_is_plain() -> None:
    assert read_record({"a": (1, 2)}) == {"a": [1, 2]}
    assert read_record(None) is None
    loop: dict[str, Any] = {}
    loop["again"] = loop
    for found in ({"a": object()}, {"a": float("inf")}, [1], loop):
        with pytest.raises(ValueError, match="its record"):
            read_record(found)
