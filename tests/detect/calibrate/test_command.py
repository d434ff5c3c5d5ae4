"""`lare calibrate` end to end with a tiny diffusion model: a folder of photographs in, a detector out."""

import json
from pathlib import Path

import numpy as np
import pytest

from cache_schema import open_cache, store_name
from detect import Detector
from detect.calibrate import run
from detect.detail import measure_detail
from tests.detect.conftest import Made, as_pixels
from tests.extract.conftest import make_images
from train import DetectorFile
from workflow import lare

NUM_PHOTOS = 66
SMALL = ["--image_size", "64", "--ensemble_size", "1", "--batch_size", "8", "--device", "cpu", "--num_workers", "1"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i, data in enumerate(make_images(NUM_PHOTOS)):
        (folder / f"{i:03}.png").write_bytes(data)
    return folder


def calibrate(photos: Path, made: Made, out: Path, *more: str) -> int:
    return lare.main(["calibrate", str(photos), "--model", str(made.model), "--out", str(out), *SMALL, *more])


@pytest.fixture(scope="module")
def folder(photos: Path, made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "new" / "detector"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out.parents[1]))
        assert calibrate(photos, made, out, "--score", "detail") == 0
    return out


def test_the_folder_says_all_and_names_nothing_of_this_machine(folder: Path, made: Made, photos: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "detector.json"]
    found = DetectorFile.read(folder)
    assert found.method == "mean_lare" and found.calibration is None and found.view is None
    assert found.sources == () and found.dataset_id is None and found.files == {}
    assert found.detail is not None and found.detail["num_photographs"] == 22 and len(found.photographs.scores) == 44
    assert found.facts.num_images == NUM_PHOTOS and found.facts.formats == {"PNG": NUM_PHOTOS}
    assert (found.probes[0].fields["image_size"], found.probes[0].fields["stored_dtype"]) == (64, "float32")
    for path in folder.iterdir():
        text = path.read_text()
        assert str(made.model) not in text and str(photos) not in text and "000.png" not in text
    card = " ".join((folder / "README.md").read_text().split())
    assert "regression on 22 photographs of 22 groups" in card and "44 calibration photographs of 44 groups" in card
    assert "no generated image was used" in card and "kept is 2.2 %" in card and '"generated" or "unsure"' in card


def test_its_verdicts_are_generated_or_unsure_and_never_real(folder: Path, made: Made) -> None:
    detector = Detector.from_pretrained(folder, made.model, "cpu", false_alarm_rate=0.1)
    scores = np.array(detector.description.photographs.scores)
    assert detector.description.detail is not None
    intercept, coefficients = detector.description.detail["intercept"], detector.description.detail["coefficients"]
    pictures = [as_pixels(seed=i) // np.uint8(1 + 3 * i) for i in range(20)]
    verdicts = detector(pictures)
    for picture, verdict in zip(pictures, verdicts, strict=True):
        predicted = intercept + measure_detail(picture, (8, 8)) @ coefficients
        expected = (predicted - np.log(verdict.lare.mean())) / detector.description.detail["scale"]
        assert verdict.score == pytest.approx(expected, abs=1e-4)
        assert verdict.p_real == pytest.approx((1 + int((scores >= verdict.score).sum())) / 45)
        assert verdict.probability is None
        unlike = any(note.code in ("detail", "mean_lare", "size") for note in verdict.notes)
        assert verdict.verdict == ("generated" if verdict.p_real <= 0.1 and not unlike else "unsure")


def test_a_photograph_of_the_calibration_has_the_score_that_is_stored(folder: Path, made: Made, photos: Path) -> None:
    detector = Detector.from_pretrained(folder, made.model, "cpu", false_alarm_rate=0.1)
    verdicts = detector([*sorted(photos.iterdir())])
    stored = np.array(detector.description.photographs.scores)
    found = [float(np.abs(stored - verdict.score).min()) < 1e-4 for verdict in verdicts]
    assert sum(found) == 44


def test_broken_photographs_are_named_and_copies_counted_once(
    photos: Path, made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "TELL_EVERY_SEC", -1.0)
    for path in sorted(photos.iterdir())[:12]:
        (tmp_path / "few" / path.name).parent.mkdir(exist_ok=True)
        (tmp_path / "few" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "few" / "copy of 000.png").write_bytes((photos / "000.png").read_bytes())
    (tmp_path / "few" / "broken.jpg").write_bytes((photos / "000.png").read_bytes()[:200])
    (tmp_path / "few" / "empty\n.jpg").write_bytes(b"")
    (tmp_path / "few" / "film.mov").write_bytes(b"x")
    caplog.set_level("INFO")
    assert calibrate(tmp_path / "few", made, tmp_path / "out", "--score", "mean") == 3
    found = DetectorFile.read(tmp_path / "out")
    assert found.detail is None and len(found.photographs.scores) == found.facts.num_images == 12
    assert caplog.messages[0] == f"maps by {made.model} on cpu" and "15 photographs" in caplog.messages
    assert "broken.jpg: " in caplog.text and r"empty\x0a.jpg: empty file" in caplog.text
    assert "12 photographs measured, 2 could not be used" in caplog.text
    assert "copies of others, not counted: 1, such as" in caplog.text and "film.mov" not in caplog.text
    assert "not used: 1 other file: 1 .mov" in caplog.text
    detector = Detector.from_pretrained(tmp_path / "out", made.model, "cpu", false_alarm_rate=0.1)
    (verdict,) = detector(photos / "000.png")
    assert verdict.score == pytest.approx(-float(verdict.lare.mean(dtype=np.float64)))


def test_a_packed_dataset_gives_its_caches_maps(made: Made, tmp_path: Path) -> None:
    assert calibrate(made.data, made, tmp_path / "out", "--score", "mean", "--ensemble_size", "2") == 0
    found = DetectorFile.read(tmp_path / "out")
    cache = open_cache(made.cache)
    assert found.probes[0].fingerprint == cache.fingerprint and found.dataset_id == made.dataset.dataset_id
    scores = []
    for n, tar in enumerate(made.dataset.tars):
        maps = cache.read(store_name(tar.name)).lare
        for row, stored in zip(made.dataset.rows(n).to_pylist(), maps, strict=True):
            if row["label"] == 0 and row["split"] != "test":
                scores.append(-stored.mean(dtype=np.float64))
    assert found.photographs.scores == pytest.approx(sorted(scores), rel=1e-5)
    assert found.photographs.num_groups == 10  # of two photographs each


def test_a_folder_with_its_model_needs_no_other(made: Made, photos: Path, tmp_path: Path) -> None:
    assert calibrate(photos, made, tmp_path / "out", "--include_model", "true") == 0
    alone = Detector.from_pretrained(tmp_path / "out", false_alarm_rate=0.1)
    assert alone(photos / "000.png")[0].probability is None
    assert "--model" not in (tmp_path / "out" / "README.md").read_text()


def test_a_config_file_sets_the_maps_and_flags_win(made: Made, photos: Path, tmp_path: Path) -> None:
    args = ["calibrate", str(photos), "--config", "sd15", "--compute_dtype", "fp32", "--score", "mean"]
    assert lare.main([*args, "--model", str(made.model), "--out", str(tmp_path / "out"), *SMALL]) == 0
    fields = DetectorFile.read(tmp_path / "out").probes[0].fields
    assert (fields["image_size"], fields["ensemble_size"], fields["stored_dtype"]) == (64, 1, "float16")


def test_too_few_photographs_leave_no_folder(
    made: Made, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(photos / "000.png", made, tmp_path / "out", "--score", "detail") == 1
    assert "error: 1 usable photographs are too few: a third of them, 1, are for" in capsys.readouterr().err
    assert calibrate(photos / "000.png", made, tmp_path / "out") == 1
    assert "error: scores of 1 groups of photographs support no false-alarm rate below" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--score", "best"], "--score is best: expected one of"),
        (["--image_size", "0"], "image_size is 0: expected 1 or more"),
        (["--out", "/"], "out is /, which is there already: choose another folder"),
    ],
)
def test_wrong_settings_end_at_once(
    made: Made, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        calibrate(photos, made, tmp_path / "out", *more)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_settings_that_do_not_fit_the_model_are_refused(
    made: Made, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(photos, made, tmp_path / "out", "--image_size", "60") == 1
    assert "image_size is 60: autoencoder and UNet of this model need a multiple of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("detail", [{"coefficients": [1e300, 1.0]}, {"features": ["unknown", "names"]}, {"scale": 0.0}])
def test_a_strangers_regression_is_refused_with_its_folder(
    folder: Path, made: Made, tmp_path: Path, detail: dict
) -> None:
    description = DetectorFile.read(folder)
    assert description.detail is not None
    hostile = DetectorFile(**{**vars(description), "detail": dict(description.detail) | detail})
    hostile.write(tmp_path)
    assert json.loads((tmp_path / "detector.json").read_text())["detail"]["version"] == 1
    with pytest.raises(ValueError, match=f"^{tmp_path}: its regression on local detail cannot be read"):
        Detector.from_pretrained(tmp_path, made.model, "cpu")
