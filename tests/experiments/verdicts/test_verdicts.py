"""A real detector of tiny models is asked about its own test images, as the command does it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Dataset, write_dataset
from detect import Detector, Picture
from experiments.__main__ import main
from experiments.answers.answer import Answer
from experiments.study.image_sets import read_samples
from experiments.verdicts.files import FILES
from experiments.verdicts.seen import BY_HASH, PACKED, RESEEDED, Seen, ask, load, of_file, save, see
from tests.detect.conftest import Made
from tests.experiments.verdicts.made_up import FORMAT, seen
from train import DetectorFile
from workflow.code_hash import ROOT

NUM_IMAGES = 3


def arguments(made: Made, out: Path, *more: str) -> list[str]:
    places = [f"--data={made.data}", f"--model={made.model}", f"--caches={out}", f"--out={out}"]
    recipes = [f"--extract_config={ROOT / 'demo/configs/extract.yaml'}", f"--recipe={ROOT / 'demo/configs/full.yaml'}"]
    return ["verdicts", *places, *recipes, "--preset=tiny", f"--num_images={NUM_IMAGES}", *more]


def test_what_was_seen_can_be_kept(tmp_path: Path) -> None:
    kept = [seen("a", 0.5, unlike=(*FORMAT, "size")), seen("b", None, None), seen("c", 0.1, 1, RESEEDED)]
    save(kept, tmp_path / "new" / "seen.parquet")
    assert load(tmp_path / "new" / "seen.parquet") == kept


def test_a_detector_is_needed(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(made, tmp_path)) == 1
    assert "name the folder of `lare export` with --detector" in capsys.readouterr().err
    assert main(arguments(made, tmp_path, f"--detector={tmp_path}")) == 1
    assert "holds no detector.json" in capsys.readouterr().err


def test_a_detector_without_a_network_is_refused(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(DetectorFile.read(made.folder), method="mean_lare").write(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((made.folder / name).read_bytes())
    assert main(arguments(made, tmp_path / "out", f"--detector={tmp_path}")) == 1
    assert "has the method mean_lare" in capsys.readouterr().err


@pytest.mark.parametrize("rates", ["[]", "[0]", "[0.1, 1]"])
def test_rates_are_shares(made: Made, tmp_path: Path, rates: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments(made, tmp_path, f"--false_alarm_rates={rates}"))
    assert "false_alarm_rates is" in capsys.readouterr().err


def test_files_that_cannot_be_used_stay_in_their_place(made: Made, detector: Detector) -> None:
    samples = [*read_samples(made.dataset, {row["key"] for row in made.dataset.rows(0).to_pylist()})][:3]
    questions = [(PACKED, s, s.image if i != 1 else b"no picture", s.key) for i, s in enumerate(samples)]
    answers = [*ask(detector, questions)]
    assert [each.key for each in answers] == [s.key for s in samples]
    assert [each.score is None for each in answers] == [False, True, False]


@pytest.mark.slow
def test_command_from_pictures_to_the_answer(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = arguments(made, tmp_path, f"--detector={made.folder}", "--false_alarm_rates=[0.01, 0.3]")
    assert main(command) == 0
    found = Answer.load(tmp_path / "answers" / "verdicts.json")
    assert found.finding in capsys.readouterr().out and (tmp_path / "answers" / "verdicts.png").is_file()
    assert found.settings["num_photographs"] == {"tiny": "unknown"} and found.settings["preset"] == "tiny"
    one = found.numbers["sets"]["tiny"]
    assert [(each["asked"], each["used"]) for each in one["false_alarms"]] == [([0.01], 1 / 7), ([0.3], 0.3)]
    all_seen = load(tmp_path / "sets" / "tiny" / "seen.parquet")
    check_seen(made, all_seen)
    stamp = (tmp_path / "sets" / "tiny" / "seen.parquet").stat().st_mtime_ns
    assert main([*command, "--false_alarm_rates=[0.5]"]) == 0  # no network is asked again
    assert (tmp_path / "sets" / "tiny" / "seen.parquet").stat().st_mtime_ns == stamp
    numbers = json.loads((tmp_path / "sets" / "tiny" / "numbers.json").read_text())
    assert [each["used"] for each in numbers["false_alarms"]] == [0.5]


def check_seen(made: Made, all_seen: list[Seen]) -> None:
    """Every test image once as packed, some in every file and with other noise, all as the detector says itself."""
    dataset = Dataset.open(made.data)
    rows = {row["key"]: row for row in dataset.table(["key", "split", "label", "group"]).to_pylist()}
    test = {key for key, row in rows.items() if row["split"] == "test"}
    packed = of_file(all_seen, PACKED)
    assert packed.keys() == test and all(rows[k]["label"] == each.label for k, each in packed.items())
    for file in (BY_HASH, RESEEDED, *FILES):
        assert len(of_file(all_seen, file)) == 2 * NUM_IMAGES and of_file(all_seen, file).keys() < test
    detector = Detector.from_pretrained(made.folder, made.model, "cpu")
    samples = [*read_samples(dataset, test)]
    asked = [Picture.of(s.image, s.key, s.key) for s in samples]
    for sample, answer in zip(samples, detector.stream(asked), strict=True):
        assert answer.verdict is not None
        assert packed[sample.key].score == pytest.approx(answer.verdict.score, abs=1e-5)
        assert packed[sample.key].p_real == answer.verdict.p_real
        assert packed[sample.key].group == rows[sample.key]["group"]
    for file in (BY_HASH, RESEEDED):
        moved = [abs((each.score or 0) - (packed[key].score or 0)) for key, each in of_file(all_seen, file).items()]
        assert np.max(moved) > 1e-5  # it is other noise


def test_a_test_without_generated_images_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no photographs or no generated images in its test split"):
        [*see(_without_generated(made, tmp_path / "data"), made.folder, str(made.model), 1)]


def _without_generated(made: Made, folder: Path) -> Path:
    rows = made.dataset.table(["key", "label"]).to_pylist()
    keys = {row["key"] for row in rows if row["label"] == 0}
    return write_dataset(folder, read_samples(made.dataset, keys), {}, max_rows=8).folder
