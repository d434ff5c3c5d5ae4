"""Hostile detector files: each is read as it was written, or one ValueError says why not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_schema import CacheError, Fingerprint
from tests.hostile import NOT_JSON, REPEATABLE, VALUES, mutated
from train.detector_file import DetectorFile, DiffusionModelName, ProbeFile, _hash
from train.facts import TrainingFacts
from train.scoring.calibration import Calibration
from train.scoring.false_alarms import Photographs

FIELDS = {"timestep": 261}
WHOLE = DetectorFile(
    "mean_lare",
    (ProbeFile(Fingerprint(FIELDS).hexdigest, FIELDS, DiffusionModelName("hub/model")),),
    Photographs((-1.0, 0.5), (0, 1)),
    TrainingFacts(2, {"JPEG": 2}, {"mean_lare": (0.1, 0.9)}),
    calibration=Calibration(0.4, 1.5, ((0.3, 0.5), (0.2, 0.6))),
)
CONTENT: dict[str, Any] = json.loads(json.dumps(WHOLE.to_dict()))
PARTS: dict[str, Callable[[Any], Any]] = {
    "calibration": Calibration.from_dict,
    "validation_photographs": Photographs.from_dict,
    "training_facts": TrainingFacts.from_dict,
}


def write(folder: Path, content: dict[str, Any]) -> None:
    (folder / "detector.json").write_text(json.dumps(content | {"sha256": _hash(content)}), encoding="utf-8")


def test_a_whole_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    WHOLE.write(tmp_path)
    assert DetectorFile.read(tmp_path) == WHOLE


@pytest.mark.slow
@REPEATABLE
@given(mutated(CONTENT))
def test_a_hostile_description_with_its_right_hash_can_be_used_or_is_refused(tmp_path: Path, content: Any) -> None:
    write(tmp_path, content)
    try:
        found = DetectorFile.read(tmp_path)
    except (ValueError, CacheError) as error:
        assert 0 < len(str(error)) < 5000
    else:
        assert 0 < found.photographs.p_real(0.0) <= 1
        assert len(found.identity) == 64
        assert found.band is None or len(found.band) == 2


@pytest.mark.slow
@REPEATABLE
@given(NOT_JSON)
def test_what_is_no_description_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "detector.json").write_bytes(data)
    with pytest.raises((ValueError, CacheError), match="detector"):
        DetectorFile.read(tmp_path)


@pytest.mark.slow
@REPEATABLE
@given(st.sampled_from(sorted(PARTS)), st.data())
def test_a_hostile_part_is_read_or_refused(name: str, data: st.DataObject) -> None:
    content = data.draw(mutated(CONTENT[name]) | VALUES)
    try:
        found = PARTS[name](content)
    except ValueError as error:
        assert "cannot be read" in str(error)
    else:
        assert PARTS[name](found.to_dict()) == found


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("calibration", {"threshold": 10**400}),
        ("calibration", {"threshold": float("nan")}),
        ("calibration", {"temperature": 0}),
        ("calibration", {"bands": None}),
        ("validation_photographs", {"scores": [10**400, 0]}),
        ("validation_photographs", {"groups": [float("inf"), 0]}),
        ("training_facts", {"num_images": float("inf")}),
    ],
)
def test_a_number_that_cannot_be_used_is_refused(part: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        PARTS[part](CONTENT[part] | values)


@pytest.mark.parametrize("files", [[[1, 2]], {"a" * 300: "x"}, {"../x": "x"}])
def test_a_name_that_is_no_file_of_the_folder_is_refused(tmp_path: Path, files: Any) -> None:
    write(tmp_path, CONTENT | {"files": files})
    with pytest.raises(ValueError, match="expected a file of its own folder"):
        DetectorFile.read(tmp_path)
