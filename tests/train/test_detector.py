"""A detector is the same from a checkpoint and from the folder that it is exported as; wrong files are refused."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from cache_schema import FingerprintMismatch
from tests.train.packed import extract, module, pack
from train.detector import Detector
from train.export import export_checkpoint
from train.model import LareClassifier
from train.record import describe_training
from train.scoring.calibration import Calibration
from train.task import LareTask

TINY = {"backbone": "resnet_tiny_clip", "image_size": 16, "map_channels": 3}
CALIBRATION = Calibration(0.25, 1.5, ((0.2, 0.3), (0.1, 0.4)))


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    """A dataset, its cache, and a checkpoint of weights that say they were trained on them in view native."""
    dataset = pack(tmp_path / "data")
    cache = extract(dataset, tmp_path / "cache")
    task = LareTask(**TINY)
    task.calibration = CALIBRATION
    trained_on = describe_training(module(dataset, cache, view="native", alignment="whole", crop_px=16))
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "trained_on": trained_on}
    torch.save(content, tmp_path / "best.ckpt")
    return {"data": dataset.folder, "cache": cache.folder, "ckpt": tmp_path / "best.ckpt"}


def test_a_checkpoint_and_its_folder_give_the_same_detector(made: dict[str, Path], tmp_path: Path) -> None:
    export_checkpoint(str(made["ckpt"]), str(tmp_path / "out"))
    inputs = torch.rand(3, 3, 16, 16), torch.rand(3, 3, 8, 8)
    one, other = Detector.load(made["ckpt"]), Detector.load(tmp_path / "out")
    assert not (one.model.training or other.model.training)
    assert torch.equal(one.model(*inputs), other.model(*inputs))
    assert one.calibration == other.calibration == CALIBRATION
    assert one.view == other.view == {"view": "native", "alignment": "whole", "crop_px": 16}
    assert one.trained_on == other.trained_on


def test_data_are_opened_as_they_were_trained_on(made: dict[str, Path]) -> None:
    data = Detector.load(made["ckpt"]).open_data(made["data"], [made["cache"]], "validation")
    assert (data.view, data.alignment, data.crop_px, data.predict_split) == ("native", "whole", 16, "validation")
    assert next(iter(data.test_dataloader()))["image"].shape[1:] == (3, 16, 16)


def test_maps_of_other_settings_are_refused(made: dict[str, Path], tmp_path: Path) -> None:
    dataset = pack(tmp_path / "same")
    other = extract(dataset, tmp_path / "other", timestep=261)
    with pytest.raises(FingerprintMismatch, match="timestep"):
        Detector.load(made["ckpt"]).open_data(dataset.folder, [other.folder], "test")


def test_older_weights_see_boxes_of_the_side_that_their_model_takes() -> None:
    detector = Detector(LareClassifier(**TINY, record={"trained_on": {"caches": []}}))
    assert detector.view == {"crop_px": 16}


def test_weights_without_a_record_are_refused_where_it_is_needed() -> None:
    detector = Detector(LareClassifier(**TINY))
    with pytest.raises(ValueError, match="do not say what they were trained on"):
        _ = detector.view
    with pytest.raises(ValueError, match="do not say how they were calibrated"):
        _ = detector.calibration


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no checkpoint"):
        Detector.load(tmp_path / "no.ckpt")


class _Marks:
    """An object whose pickle makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("place", ["record", "backbone", "pretrained", "weights", "unknown"])
def test_a_strangers_folder_makes_no_marker(made: dict[str, Path], tmp_path: Path, place: str) -> None:
    folder, marker = tmp_path / "out", tmp_path / "marker"
    export_checkpoint(str(made["ckpt"]), str(folder))
    config = json.loads((folder / "config.json").read_text())
    spec = {"class_path": "logging.FileHandler", "init_args": {"filename": str(marker)}}
    if place == "weights":
        for name in ("pytorch_model.bin", "model.ckpt"):
            torch.save({"state_dict": _Marks(marker)}, folder / name)
    elif place == "record":
        config["record"]["calibration"]["x"] = config["record"]["x"] = spec
    else:
        config[place] = spec
    (folder / "config.json").write_text(json.dumps(config))
    if place == "backbone":
        with pytest.raises(ValueError, match=r"config\.json is none of a LareClassifier: its backbone is"):
            Detector.load(folder)
    else:
        assert Detector.load(folder).calibration == CALIBRATION
    assert not marker.exists()


def test_a_folder_that_reads_for_ever_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export_checkpoint(str(made["ckpt"]), str(folder))
    config = (folder / "config.json").read_text()
    for content in ("[" * 100_000, "[]", "{"):
        (folder / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"config\.json"):
            Detector.load(folder)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(ValueError, match=r"config\.json is no file"):
        Detector.load(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is no file"):
        Detector.load(folder)


class _Harmful:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("/tmp/never-made-by-a-test"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no checkpoint", "cannot be read as a checkpoint"),
        (b"", "cannot be read as a checkpoint"),
        (pickle.dumps(_Harmful(), protocol=2), "cannot be read as a checkpoint"),
        ({"epoch": 3}, "is no checkpoint of python -m train fit: it has no 'hyper_parameters'"),
        (
            {"hyper_parameters": TINY, "state_dict": {}},
            "is no checkpoint of python -m train fit: it has no '_extra_state'",
        ),
        (
            {"hyper_parameters": TINY, "state_dict": {"_extra_state": torch.tensor(0.5)}},
            "do not fit its settings",
        ),
    ],
)
def test_a_wrong_checkpoint_is_refused(content: bytes | dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        Detector.load(path)
    assert not Path("/tmp/never-made-by-a-test").exists()
