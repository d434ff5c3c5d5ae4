"""Settings of a calibration: those of an extraction under the same names, and what is refused at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from detect.calibrate.config import CalibrateConfig
from extract import ExtractConfig


def config(**changes: Any) -> CalibrateConfig:
    return CalibrateConfig(**{"photos": ("photos",), "model": "sd", "out": "detector", **changes})


def test_defaults_are_those_of_an_extraction_but_for_the_stored_number_format() -> None:
    expected = ExtractConfig(data="", cache="", model="sd", stored_dtype="float32")
    assert config().extraction == expected


def test_every_setting_of_the_packaged_file_is_one_and_reaches_the_maps() -> None:
    path = Path(__file__).parents[3] / "extract" / "configs" / "sd15.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = config(**settings)
    for name, value in settings.items():
        assert getattr(found, name) == value
        assert name == "num_workers" or getattr(found.extraction, name) == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photos": ()}, "no photographs are given"),
        ({"score": "both"}, "score is 'both': expected one of mean, detail"),
        ({"group_by": "day"}, "group_by is 'day': expected one of file, folder"),
        ({"prompt_policy": "template"}, "prompt_policy is 'template': expected one of fixed"),
        ({"image_size": 0}, "image_size is 0: expected 1 or more"),
        ({"ensemble_size": 0}, "ensemble_size is 0: expected 1 or more"),
        ({"num_workers": -1}, "num_workers is -1: expected 0 or more"),
        ({"compute_dtype": "fp8"}, "compute_dtype is 'fp8': expected one of"),
        ({"include_model": True}, r"holds no model_index\.json: include_model copies a diffusers folder"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which is there already: choose another folder"):
        config(out=str(tmp_path))
    with pytest.raises(ValueError, match="which a detector cannot name for others"):
        config(vae=str(tmp_path))
