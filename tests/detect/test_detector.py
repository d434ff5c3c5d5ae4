"""Verdicts of a whole detector: equal to cache and prediction file, whatever the batch and the neighbours."""

import hashlib
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cache_schema import ImageRejected, open_cache, read_image_bytes, store_name
from detect import Detector, Picture, Verdict
from detect.prepare import Prepared
from tests.bad_images import png, png_with
from tests.detect.conftest import CALIBRATION, Made, as_pixels
from train import DetectorFile, generated_score
from train.detector import Detector as TrainedDetector


def samples_of(made: Made, split: str) -> list[tuple[str, bytes, np.ndarray]]:
    """Key, bytes and stored map of each sample of a split."""
    dataset, cache, found = made.dataset, open_cache(made.cache), []
    for n, entry in enumerate(dataset.tars):
        if entry.name.startswith(split):
            maps = cache.read(store_name(entry.name)).lare
            for row, lare in zip(dataset.rows(n).to_pylist(), maps, strict=True):
                found.append((row["key"], read_image_bytes(dataset.tar_path(n), row["offset"], row["size"]), lare))
    return found


def predicted_scores(made: Made, split: str) -> np.ndarray:
    """Scores by the trained network on the datamodule's own batches, as `predict` has them."""
    trained = TrainedDetector.from_checkpoint(made.checkpoint)
    module = trained.open_data(made.data, [made.cache], split)
    module.setup("predict")
    with torch.inference_mode():
        logits = [trained.model(batch["image"], batch["lare"]) for batch in module.predict_dataloader()]
    return generated_score(torch.cat(logits)).numpy()


def assert_same(a: np.ndarray, b: np.ndarray) -> None:
    """Equal but for rounding, which depends on the batch size."""
    assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()


def verdicts_of(detector: Detector, pictures: list[Picture]) -> list[Verdict]:
    answers = [*detector.stream(pictures)]
    assert all(answer.verdict is not None and answer.error == "" for answer in answers)
    return [answer.verdict for answer in answers if answer.verdict is not None]


def test_with_a_samples_key_map_and_probability_equal_cache_and_predictions(made: Made, detector: Detector) -> None:
    samples = samples_of(made, "test")
    verdicts = verdicts_of(detector, [Picture.of(data, key, key) for key, data, _ in samples])
    expected = predicted_scores(made, "test")
    assert len(verdicts) == len(expected) == 8
    for verdict, (_, data, stored), score in zip(verdicts, samples, expected, strict=True):
        assert_same(stored, verdict.lare)
        assert verdict.score == pytest.approx(score, abs=1e-5)
        scaled = CALIBRATION.scale(torch.tensor([score])).item()
        assert verdict.probability == pytest.approx(scaled, abs=1e-5)
        assert verdict.image.sha256 == hashlib.sha256(data).hexdigest()


def test_p_real_counts_the_groups_of_the_validation_photographs(made: Made, detector: Detector) -> None:
    rows = [
        row
        for n, t in enumerate(made.dataset.tars)
        if t.name.startswith("val")
        for row in made.dataset.rows(n).to_pylist()
    ]
    scores = predicted_scores(made, "validation")
    real = [(row["group"], score) for row, score in zip(rows, scores, strict=True) if row["label"] == 0]
    groups = {group for group, _ in real}
    assert len(real) == 12 and len(groups) == 6
    for verdict in verdicts_of(detector, [Picture.of(as_pixels(seed=i)) for i in range(5)]):
        shares = [np.mean([s >= verdict.score for g, s in real if g == group]) for group in groups]
        assert verdict.p_real == pytest.approx((1 + sum(shares)) / 7)


def test_without_a_key_the_noise_follows_from_the_bytes_alone(
    detector: Detector, pictures: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "a name.png").write_bytes(pictures[0])
    by_path, by_bytes = detector([tmp_path / "a name.png", pictures[0]])
    assert_same(by_path.lare, by_bytes.lare)
    key = f"sha256:{hashlib.sha256(pictures[0]).hexdigest()}"
    assert_same(detector.lare(pictures[0], key), by_bytes.lare)
    assert np.abs(detector.lare(pictures[0], "another") - by_bytes.lare).max() > 0.01


def test_neighbours_order_and_batches_do_not_matter(detector: Detector, pictures: list[bytes]) -> None:
    alone = [detector(picture)[0] for picture in pictures]
    together, backwards = detector(pictures), detector(pictures[::-1])[::-1]
    for one, two, three in zip(alone, together, backwards, strict=True):
        assert_same(one.lare, two.lare)
        assert one.score == pytest.approx(two.score, abs=1e-5) and one.score == pytest.approx(three.score, abs=1e-5)
        assert one.image == two.image == three.image


def test_pixels_are_a_picture_too(detector: Detector) -> None:
    pixels = as_pixels((50, 70))
    array, pillow = detector([pixels, Image.fromarray(pixels)])
    assert array.score == pytest.approx(pillow.score, abs=1e-5) and array.image.format == "pixels"
    assert (array.image.width, array.image.height, array.image.jpeg_quality) == (70, 50, None)
    assert "format" not in [note.code for note in array.notes]


def test_marks_of_a_file_are_notes_and_move_no_score(detector: Detector) -> None:
    marked, bare = png_with(Software="NovelAI"), png()
    with_marks, without = verdicts_of(detector, [Picture.of(data, sample_key="png:a") for data in (marked, bare)])
    assert [note.code for note in with_marks.notes if note.code.startswith("mark_")] == ["mark_generator"]
    assert not any(note.code.startswith("mark_") for note in without.notes)
    assert with_marks.verdict == without.verdict and with_marks.score == pytest.approx(without.score, abs=1e-5)


def test_broken_pictures_are_answers_in_their_place(detector: Detector, pictures: list[bytes], tmp_path: Path) -> None:
    given = [b"", pictures[0], b"no picture", *[b"x"] * 20, pictures[1][:-40], pictures[2]]
    mixed = [Picture.of(data, f"n{i}") for i, data in enumerate(given)] + [Picture.of(tmp_path / "gone.png")]
    answers = [*detector.stream(mixed)]
    assert [answer.name for answer in answers] == [picture.name for picture in mixed]
    assert [i for i, answer in enumerate(answers) if answer.verdict] == [1, 24]
    assert answers[0].to_dict() == {"name": "n0", "error": "empty file", "status": "unreadable"}
    assert answers[-1].error == "cannot be read: no such file or directory"
    alone = detector(pictures[2])[0]
    assert answers[24].verdict is not None and answers[24].verdict.score == pytest.approx(alone.score, abs=1e-5)


def test_all_broken_and_none_at_all(detector: Detector) -> None:
    assert [answer.status for answer in detector.stream([Picture.of(b"x", str(i)) for i in range(9)])] == [
        "unreadable"
    ] * 9
    assert [*detector.stream([])] == [] and detector([]) == [] and detector.judge([]) == []


def test_a_list_with_a_broken_picture_raises(detector: Detector, pictures: list[bytes]) -> None:
    with pytest.raises(ImageRejected, match="cannot identify it"):
        detector([pictures[0], b"no picture"])
    with pytest.raises(TypeError, match=r"a picture is given as ndarray \(3, 4\) of float64: expected"):
        detector(np.zeros((3, 4)))


def test_prepare_and_judge_are_stream_in_two_steps(detector: Detector, pictures: list[bytes]) -> None:
    prepared = [detector.prepare(Picture.of(data, str(i))) for i, data in enumerate([*pictures[:3], b"x"])]
    answers = detector.judge(prepared)
    assert [answer.name for answer in answers] == ["0", "1", "2", "3"] and answers[3].status == "unreadable"
    for answer, verdict in zip(answers, detector(pictures[:3]), strict=False):
        assert answer.verdict is not None and answer.verdict.score == pytest.approx(verdict.score, abs=1e-5)


def test_attention_is_a_part_of_the_picture_each(made: Made, pictures: list[bytes]) -> None:
    detector = Detector.from_pretrained(made.folder, made.model, "cpu", explain=True)
    for verdict in detector(pictures[:2]):
        assert verdict.attention is not None and verdict.attention.shape == (7, 7)
        assert 0 < verdict.attention.sum() < 1 and (verdict.attention > 0).all()  # the mean's own weight is left out


def test_a_verdict_as_plain_values(detector: Detector, pictures: list[bytes]) -> None:
    verdict = detector(pictures[0])[0]
    content = verdict.to_dict()
    assert content["mean_lare"] == pytest.approx(float(verdict.lare.mean()))
    assert content["detector"] == detector.description.identity and content["image"]["format"] == "PNG"
    assert set(content) == {
        *("verdict", "probability", "score", "p_real", "false_alarm_rate", "notes", "mean_lare", "image"),
        *("detector", "seconds"),
    }


def test_a_large_photograph_is_noted(detector: Detector) -> None:
    buffer = io.BytesIO()
    Image.fromarray(as_pixels((900, 1200))).save(buffer, "JPEG", quality=50)
    (verdict,) = detector(buffer.getvalue())
    texts = {note.code: note.text for note in verdict.notes}
    assert texts["size"].startswith("It has 1200 × 900 px; the training images have short sides of")
    assert texts["format"] == "It is a JPEG file; the training images are PNG files."
    assert verdict.verdict != "generated"


def test_facts_about_the_detector(detector: Detector) -> None:
    facts = detector.describe()
    assert (facts["num_validation_photographs"], facts["num_validation_groups"]) == (12, 6)
    assert facts["false_alarm_rate"] == facts["false_alarm_rate_asked"] == 0.2 and facts["device"] == "cpu"
    assert facts["unsure_probabilities"] == pytest.approx(CALIBRATION.scale_values((0.48, 0.52)))


def test_a_picture_that_waits_keeps_no_more_than_its_scorer_sees(detector: Detector) -> None:
    prepared = detector.prepare(Picture.of(as_pixels((2000, 3000))))
    assert isinstance(prepared, Prepared)
    assert prepared.kept.pixels.shape == (56, 56, 3) and prepared.kept.pixels.base is None
    assert prepared.kept.image_px == (2000, 3000)


def test_a_picture_without_pixels_is_rejected(detector: Detector) -> None:
    with pytest.raises(ImageRejected, match="10 x 0 pixels"):
        detector(Image.new("RGB", (10, 0)))


@pytest.mark.parametrize(
    ("view", "size", "error"),
    [
        ({"view": "native", "alignment": "whole", "crop_px": 56}, (40, 90), ""),
        ({"view": "native", "alignment": "crop", "crop_px": 56}, (70, 90), ""),
        (
            {"view": "native", "alignment": "crop", "crop_px": 56},
            (40, 90),
            "90 x 40 pixels, the detector needs 56 a side",
        ),
    ],
)
def test_native_views_cut_the_picture_at_its_own_size(
    made: Made, tmp_path: Path, view: dict[str, str | int], size: tuple[int, int], error: str
) -> None:
    description = replace(DetectorFile.read(made.folder), view=view)
    shutil.copytree(made.folder, tmp_path / "native")
    description.write(tmp_path / "native")
    detector, pixels = Detector.from_pretrained(tmp_path / "native", made.model, "cpu"), as_pixels(size)
    (answer,) = detector.stream([Picture.of(pixels)])
    assert answer.error == error
    if not error:
        prepared = detector.prepare(Picture.of(pixels))
        assert isinstance(prepared, Prepared)
        padded = np.pad(pixels, [(8, 8), (0, 0), (0, 0)]) if size[0] < 56 else pixels
        top, left = (padded.shape[0] - 56) // 2, (padded.shape[1] - 56) // 2
        assert np.array_equal(prepared.kept.pixels, padded[top : top + 56, left : left + 56])
