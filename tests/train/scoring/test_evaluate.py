"""results.json from saved predictions: small cases by hand, and files that do not belong."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from train.scoring.calibration import COVERAGES, Calibration, fit_calibration
from train.scoring.evaluate import compare_readings, evaluate
from train.scoring.pairs import compare_pairs
from train.scoring.prediction_file import ALLOWED_DIFFERENCES, CALIBRATION, COLUMNS, THRESHOLD
from train.scoring.scores import Reading, check_samples, load_reading

# (key, label, image_source, subset, derived_from, score)
PHOTOS = [("r0", 0, "real", "a", None, 0.1), ("r1", 0, "real", "a", None, 0.6), ("r2", 0, "real", "b", None, 0.2)]
FAKES = [("f0", 1, "sd", "a", "r0", 0.9), ("f1", 1, "sd", "a", "r1", 0.3), ("g0", 1, "gan", "b", None, 0.8)]
CONTROLS = [
    ("v0", None, "vae-roundtrip", "a", "r0", 0.2),
    ("v1", None, "vae-roundtrip", "a", "r1", 0.7),
    ("b0", None, "blur", "a", "r0", 0.15),
]


def _index(samples: list[tuple], split: str = "test") -> pa.Table:
    keys, labels, sources, subsets, derived, _ = zip(*samples, strict=True)
    columns = {
        "key": pa.array(keys, pa.string()),
        "label": pa.array(labels, pa.int8()),
        "image_source": pa.array(sources, pa.string()),
        "subset": pa.array(subsets, pa.string()),
        "split": pa.array([split] * len(keys), pa.string()),
        "group": pa.array([d or k for k, d in zip(keys, derived, strict=True)], pa.string()),
        "derived_from": pa.array(derived, pa.string()),
    }
    assert set(columns) == set(COLUMNS)
    return pa.table(columns)


def _write(path: Path, index: pa.Table, scores: list[float], rows: list[int] | None = None, **metadata: str) -> Path:
    rows = list(range(len(index))) if rows is None else rows
    table = index.take(pa.array(rows, pa.int64())).add_column(0, "row", pa.array(rows, pa.int64()))
    table = table.append_column("logit_real", pa.array([0.0] * len(rows), pa.float32()))
    table = table.append_column("logit_generated", pa.array(scores, pa.float32()))
    table = table.append_column("score", pa.array(scores, pa.float64()))
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def _reading(
    samples: list[tuple], *, scores: list[list[float]] | None = None, is_probability: bool = True, threshold=None
) -> Reading:
    scores = [[sample[-1] for sample in samples]] if scores is None else scores
    fitted = None if threshold is None else Calibration(threshold)
    return Reading(_index(samples), np.array(scores), (fitted,) * len(scores), is_probability)


def test_sources_are_scored_against_the_reals_of_their_own_subset() -> None:
    result = evaluate({"full": _reading(PHOTOS + FAKES + CONTROLS, threshold=0.25)})["readings"]["full"]
    sd = result["sources"]["sd"]  # reals 0.1 and 0.6, fakes 0.9 and 0.3
    assert (sd["n_real"], sd["n_generated"]) == (2, 2)
    assert sd["accuracy"] == sd["balanced_accuracy"] == 0.5
    assert sd["accuracy_at_val_threshold"] == 0.75
    assert sd["auroc"] == 0.75
    assert sd["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert sd["tpr_at_fpr_5"] == sd["tpr_at_fpr_1"] == 0.5
    assert sd["auroc_sd"] is None
    gan = result["sources"]["gan"]  # real 0.2, fake 0.8
    assert (gan["n_real"], gan["n_generated"]) == (1, 1)
    assert gan["accuracy"] == gan["auroc"] == 1.0


def test_photographs_that_sources_share_are_counted_once_in_the_mean() -> None:
    again = [("o0", 1, "other", "a", "r0", 0.8)]
    result = evaluate({"full": _reading(PHOTOS + FAKES + again)})["readings"]["full"]
    assert result["sources"]["other"]["n_real"] == result["sources"]["sd"]["n_real"] == 2
    assert result["mean"]["n_real"] == 3


def test_controls_stand_in_the_generated_place_outside_the_mean() -> None:
    result = evaluate({"full": _reading(PHOTOS + FAKES + CONTROLS)})["readings"]["full"]
    assert set(result["controls"]) == {"blur", "vae-roundtrip"}
    roundtrip = result["controls"]["vae-roundtrip"]  # reals 0.1 and 0.6, round trips 0.2 and 0.7
    assert (roundtrip["n_real"], roundtrip["n_generated"], roundtrip["auroc"]) == (2, 2, 0.75)
    assert result["mean"]["auroc"] == pytest.approx((0.75 + 1.0) / 2)
    assert result["mean"]["accuracy"] == pytest.approx((0.5 + 1.0) / 2)
    assert result["mean"]["n_generated"] == 3
    assert result["mean"]["auroc_interval"] is None


def test_controls_have_the_share_called_generated_and_no_accuracy() -> None:
    result = evaluate({"full": _reading(PHOTOS + FAKES + CONTROLS, threshold=0.25)})["readings"]["full"]
    roundtrip = result["controls"]["vae-roundtrip"]  # reals 0.1 and 0.6, round trips 0.2 and 0.7
    assert roundtrip["share_called_generated"] == roundtrip["share_of_reals_called_generated"] == 0.5
    assert roundtrip["share_called_generated_interval"][0] < 0.5 < roundtrip["share_called_generated_interval"][1]
    assert {roundtrip[name] for name in roundtrip if "accuracy" in name} == {None}
    assert roundtrip["calibration_error"] is None
    sd = result["sources"]["sd"]  # reals 0.1 and 0.6, fakes 0.9 and 0.3
    assert (sd["share_called_generated"], sd["share_of_reals_called_generated"]) == (1.0, 0.5)
    assert sd["balanced_accuracy_at_val_threshold"] == 0.75
    unfitted = evaluate({"full": _reading(PHOTOS + FAKES + CONTROLS)})["readings"]["full"]["controls"]["vae-roundtrip"]
    assert unfitted["share_called_generated"] is unfitted["share_called_generated_interval"] is None


def test_balanced_accuracy_does_not_move_with_the_share_of_generated_images() -> None:
    fakes = [(f"f{i}", 1, "sd", "a", None, 0.2 if i % 4 == 0 else 0.8) for i in range(40)]
    photos = [(f"r{i}", 0, "real", "a", None, 0.6 if i % 2 == 0 else 0.1) for i in range(40)]
    many = evaluate({"full": _reading(photos + fakes, threshold=0.5)})["readings"]["full"]["sources"]["sd"]
    few = evaluate({"full": _reading(photos + fakes[:4], threshold=0.5)})["readings"]["full"]["sources"]["sd"]
    assert many["balanced_accuracy_at_val_threshold"] == few["balanced_accuracy_at_val_threshold"] == 0.625
    assert (many["accuracy_at_val_threshold"], few["accuracy_at_val_threshold"]) == (0.625, pytest.approx(23 / 44))


def test_intervals_count_groups_of_the_class_that_has_fewer() -> None:
    rng = np.random.default_rng(1)
    photos = [(f"r{i}", 0, "real", "a", f"scene-{i % 14}", float(rng.random())) for i in range(56)]
    fakes = [(f"f{i}", 1, "sd", "a", None, float(rng.random() + 0.2)) for i in range(40)]
    block = evaluate({"full": _reading(photos + fakes, threshold=0.5)})["readings"]["full"]["sources"]["sd"]
    assert block["n_groups"] == 14
    for name in ("auroc", "average_precision", "balanced_accuracy_at_val_threshold"):
        low, high = block[f"{name}_interval"]
        assert 0 < low < block[name] < high < 1


def test_one_group_has_no_interval() -> None:
    block = evaluate({"full": _reading(PHOTOS + FAKES)})["readings"]["full"]["sources"]["gan"]
    assert block["n_groups"] == 1
    assert block["auroc_interval"] is block["average_precision_interval"] is None


def test_intervals_resample_groups_and_contain_the_auroc() -> None:
    rng = np.random.default_rng(0)
    photos = [(f"r{i}", 0, "real", "a", None, float(rng.random())) for i in range(60)]
    fakes = [(f"f{i}", 1, "sd", "a", f"r{i}", float(rng.random() + 0.2)) for i in range(60)]
    block = evaluate({"full": _reading(photos + fakes)})["readings"]["full"]["sources"]["sd"]
    low, high = block["auroc_interval"]
    assert 0.5 < low < block["auroc"] < high < 1


def test_several_seeds_give_mean_and_sd() -> None:
    samples = PHOTOS[:2] + FAKES[:2]
    scores = [[0.1, 0.6, 0.9, 0.3], [0.1, 0.2, 0.9, 0.8]]  # AUROC 0.75 and 1
    result = evaluate({"full": _reading(samples, scores=scores)})["readings"]["full"]
    assert result["sources"]["sd"]["auroc"] == pytest.approx(0.875)
    assert result["sources"]["sd"]["auroc_sd"] == pytest.approx(np.std([0.75, 1.0], ddof=1))
    assert result["mean"]["auroc_sd"] == pytest.approx(np.std([0.75, 1.0], ddof=1))


def test_differences_are_paired_and_have_an_sd_over_seeds() -> None:
    samples = PHOTOS[:2] + FAKES[:2]
    better = _reading(samples, scores=[[0.1, 0.2, 0.9, 0.8]] * 2)  # AUROC 1
    worse = _reading(samples, scores=[[0.1, 0.6, 0.9, 0.3], [0.1, 0.2, 0.9, 0.8]])  # AUROC 0.75 and 1
    block = compare_readings(better, worse)["sd"]
    assert block["auroc_difference"] == pytest.approx(0.125)
    assert block["sd"] == pytest.approx(np.std([0.25, 0.0], ddof=1))
    assert block["interval"] is None or block["interval"][0] < 0.125 < block["interval"][1]
    assert block["n_groups"] == 2
    same = compare_readings(better, better)["sd"]["interval"]
    assert same == pytest.approx([0.025**0.5 - 1, 1 - 0.025**0.5])  # two groups say next to nothing
    assert compare_readings(better, _reading(samples))["sd"]["sd"] is None
    with pytest.raises(ValueError, match="readings of different samples cannot be compared"):
        compare_readings(better, _reading(PHOTOS + FAKES))


def test_scores_that_are_no_probabilities_have_no_accuracy_at_one_half() -> None:
    samples = [(*sample[:-1], sample[-1] - 5) for sample in PHOTOS + FAKES]
    result = evaluate({"mean_lare": _reading(samples, is_probability=False, threshold=-4.75)})
    sd = result["readings"]["mean_lare"]["sources"]["sd"]
    assert sd["accuracy"] is sd["balanced_accuracy"] is sd["calibration_error"] is None
    assert sd["accuracy_at_val_threshold"] == 0.75
    assert sd["auroc"] == 0.75
    assert result["readings"]["mean_lare"]["mean"]["accuracy"] is None


def test_pairs_compare_with_the_own_photograph_and_its_round_trip() -> None:
    # score = -mean LaRE: higher is lower. f0 > r0 and > v0; f1 < r1 and < v1; b0 > r0 but < v0
    pairs = compare_pairs(_reading(PHOTOS + FAKES + CONTROLS))
    figures = ("lower_than_photo", "lower_than_roundtrip", "n", "n_groups")
    assert [pairs["sd"][name] for name in figures] == [0.5, 0.5, 2, 2]
    assert [pairs["blur"][name] for name in figures] == [1.0, 0.0, 1, 1]
    assert [pairs["vae-roundtrip"][name] for name in figures] == [1.0, None, 2, 2]
    assert pairs["blur"]["lower_than_photo_interval"] is None  # one scene
    assert "gan" not in pairs


def test_controls_that_are_copies_of_their_photographs_are_left_out() -> None:
    reading = _reading(PHOTOS + FAKES + CONTROLS)
    hashes = ["r0" if key in ("v0", "b0") else key for key in reading.table["key"].to_pylist()]
    told = replace(reading, table=reading.table.append_column("sha256", pa.array(hashes)))
    controls = evaluate({"x": told})["readings"]["x"]["controls"]
    assert {name: block["n_generated"] for name, block in controls.items()} == {"vae-roundtrip": 1}
    assert evaluate({"x": told})["readings"]["x"]["sources"] == evaluate({"x": reading})["readings"]["x"]["sources"]
    assert set(evaluate({"x": reading})["readings"]["x"]["controls"]) == {"vae-roundtrip", "blur"}


def test_shares_of_pairs_have_intervals_by_scene() -> None:
    scores = [0.9 if i < 37 else 0.1 for i in range(50)]  # 74 % lie above their photograph
    photos = [(f"r{i}", 0, "real", "a", None, 0.5) for i in range(50)]
    alone = [(f"f{i}", 1, "sd", "a", f"r{i}", score) for i, score in enumerate(scores)]
    found = compare_pairs(_reading(photos + alone))["sd"]
    assert found["n_groups"] == 50
    assert found["lower_than_photo_interval"] == pytest.approx([0.60, 0.84], abs=0.015)
    four = [(f"{key}-{k}", *rest) for key, *rest in alone for k in range(4)]
    again = compare_pairs(_reading(photos + four))["sd"]
    assert (again["n"], again["n_groups"]) == (200, 50)
    assert again["lower_than_photo_interval"] == pytest.approx(found["lower_than_photo_interval"])


def test_pairs_without_round_trips_or_photographs() -> None:
    assert compare_pairs(_reading(PHOTOS + FAKES))["sd"]["lower_than_roundtrip"] is None
    assert compare_pairs(_reading(FAKES)) == {}
    assert evaluate({"full": _reading(PHOTOS + FAKES)})["pairs"] == {}
    assert evaluate({"mean_lare": _reading(PHOTOS + FAKES)})["pairs"]["sd"]["n"] == 2


def test_a_source_without_reals_is_refused() -> None:
    with pytest.raises(ValueError, match="gan has no real images in its subset b"):
        evaluate({"full": _reading(PHOTOS[:2] + FAKES)})


def test_readings_of_different_samples_are_not_put_side_by_side() -> None:
    both = {"full": _reading(PHOTOS + FAKES), "mean_lare": _reading(PHOTOS + FAKES[1:])}
    with pytest.raises(ValueError, match="mean_lare scores 5 samples, and full 6, which are not the same ones"):
        check_samples(both, "test")
    check_samples({"full": both["full"], "again": both["full"]}, "test")
    with pytest.raises(ValueError, match="full scores samples of test: expected validation alone"):
        check_samples({"full": both["full"]}, "validation")


def test_labels_come_from_the_index_and_rows_may_be_in_any_order(tmp_path: Path) -> None:
    index = _index(PHOTOS + FAKES)
    wrong = index.set_column(1, "label", pa.array([1] * 6, pa.int8()))
    path = _write(tmp_path / "p.parquet", wrong, [0.9, 0.1, 0.6], rows=[3, 0, 1])
    reading = load_reading(index, [path])
    assert reading.table["key"].to_pylist() == ["r0", "r1", "f0"]
    assert reading.table["label"].to_pylist() == [0, 0, 1]
    assert reading.scores.tolist() == [[0.1, 0.6, 0.9]]
    assert reading.is_probability
    assert reading.thresholds == (None,)


def test_threshold_comes_from_the_file_or_from_validation(tmp_path: Path) -> None:
    index = pa.concat_tables([_index(PHOTOS), _index([(f"{s[0]}v", *s[1:]) for s in PHOTOS + FAKES], "validation")])
    test = _write(tmp_path / "test.parquet", index, [0.1, 0.6, 0.2], [0, 1, 2], **{THRESHOLD.decode(): "0.3125"})
    validation = _write(tmp_path / "val.parquet", index, [0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [3, 4, 5, 6, 7, 8])
    assert load_reading(index, [test]).thresholds == (0.3125,)
    assert load_reading(index, [test], [validation]).thresholds == (0.5,)
    with pytest.raises(ValueError, match=r"test\.parquet holds samples of test: a threshold is chosen on validation"):
        load_reading(index, [test], [test])
    with pytest.raises(ValueError, match="1 predictions files, but 2 of validation"):
        load_reading(index, [test], [validation, validation])


def test_calibration_error_before_and_after_and_the_unsure_bands() -> None:
    samples = [(f"r{i}", 0, "real", "a", None, s) for i, s in enumerate([0.1, 0.1, 0.1, 0.6])]
    samples += [(f"f{i}", 1, "sd", "a", None, s) for i, s in enumerate([0.4, 0.9, 0.9, 0.9])]
    fitted = Calibration(0.5, 2.0, ((0.5, 0.5), (0.3, 0.7), (0.0, 1.0)))
    reading = Reading(_index(samples), np.array([[s[-1] for s in samples]] * 2), (fitted,) * 2, True)
    sd = evaluate({"full": reading})["readings"]["full"]["sources"]["sd"]
    assert sd["calibration_error"] == pytest.approx((3 * 0.1 + 0.6 + 0.6 + 3 * 0.1) / 8)
    scaled = [1 / (1 + (1 / s - 1) ** 0.5) for s in (0.1, 0.4)]  # log-odds halved; the case is symmetric
    assert sd["calibration_error_with_temperature"] == pytest.approx((3 * scaled[0] + 1 - scaled[1]) / 4)
    assert sd["auroc"] == evaluate({"full": _reading(samples)})["readings"]["full"]["sources"]["sd"]["auroc"]
    assert sd["unsure"] == [
        {"coverage_on_validation": COVERAGES[0], "coverage": 1.0, "accuracy": 0.75},
        {"coverage_on_validation": COVERAGES[1], "coverage": 0.75, "accuracy": 1.0},
        {"coverage_on_validation": COVERAGES[2], "coverage": 0.0, "accuracy": None},
    ]


def test_what_was_fitted_comes_from_the_file_or_from_validation(tmp_path: Path) -> None:
    index = pa.concat_tables([_index(PHOTOS), _index([(f"{s[0]}v", *s[1:]) for s in PHOTOS + FAKES], "validation")])
    stored = Calibration(0.25, 1.5, ((0.2, 0.3),) * len(COVERAGES))
    notes = {
        CALIBRATION.decode(): json.dumps(stored.to_dict()),
        ALLOWED_DIFFERENCES.decode(): '["timestep: 200 ≠ 261"]',
    }
    test = _write(tmp_path / "test.parquet", index, [0.1, 0.6, 0.2], [0, 1, 2], **notes)
    scores = [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]
    validation = _write(tmp_path / "val.parquet", index, scores, [3, 4, 5, 6, 7, 8])
    reading = load_reading(index, [test])
    assert reading.calibrations == (stored,)
    assert reading.allowed_differences == (("timestep: 200 ≠ 261",),)
    expected = fit_calibration(torch.tensor(scores, dtype=torch.float64), torch.tensor([0, 0, 0, 1, 1, 1]))
    assert load_reading(index, [test], [validation]).calibrations == (expected,)


@pytest.mark.parametrize(
    ("rows", "scores", "message"),
    [
        ([0, 1], [0.1, float("nan")], "1 of 2 scores are not finite"),
        ([0, 0], [0.1, 0.2], "holds a sample more than once"),
        ([], [], "holds no predictions"),
    ],
)
def test_unusable_predictions_are_refused(tmp_path: Path, rows: list[int], scores: list[float], message: str) -> None:
    index = _index(PHOTOS)
    with pytest.raises(ValueError, match=message):
        load_reading(index, [_write(tmp_path / "p.parquet", index, scores, rows)])


def test_predictions_of_another_dataset_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet", _index(FAKES), [0.1, 0.2, 0.3])
    with pytest.raises(
        ValueError, match="made from another dataset: its keys differ from the keys of the index's rows"
    ):
        load_reading(_index(PHOTOS), [path])
    with pytest.raises(ValueError, match="made from another dataset"):
        load_reading(_index(FAKES[:2]), [path])


def test_seeds_must_score_the_same_samples(tmp_path: Path) -> None:
    index = _index(PHOTOS)
    first = _write(tmp_path / "a.parquet", index, [0.1, 0.2], [0, 1])
    second = _write(tmp_path / "b.parquet", index, [0.1, 0.2], [0, 2])
    with pytest.raises(ValueError, match=r"b\.parquet and .*a\.parquet hold different samples"):
        load_reading(index, [first, second])
