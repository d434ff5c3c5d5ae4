import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cache_schema import Dataset, Sample, decode_image
from experiments.answers.answer import Answer
from experiments.answers.rule import Verdict, judge
from experiments.degradation import attack, degradation
from experiments.degradation.attack import EPSILONS
from experiments.degradation.degradation import scale_to
from experiments.degradation.scores import Result, numbers, score_copies
from experiments.degradation.telling import (
    AS_THEY_ARE,
    READINGS,
    TELLING,
    charts,
    compare,
    entitle,
    finding,
    headline,
    list_names,
    select,
    tables,
)
from experiments.study import study as study_module
from experiments.study.image_sets import read_samples
from experiments.study.over_sources import METRICS, Means
from tests.experiments.degradation.test_attack import make_attacks
from tests.experiments.made_up import as_json, line_with, list_fitted, list_planned, make_means, run_here
from tests.experiments.small_set import ROUNDTRIP, make_study, write_small_set
from train.scoring.calibration import Calibration
from train.scoring.scores import Reading


@pytest.mark.parametrize(
    ("degradation", "image_px", "expected"),
    [
        ("resize:112", 64, "resize:28"),
        ("resize:64", 256, "resize:64"),
        ("resize:1", 64, "resize:1"),
        ("blur:3", 64, "blur:0.75"),
        ("blur:5", 256, "blur:5"),
        ("jpeg:65", 64, "jpeg:65"),
        ("crop:0.5", 64, "crop:0.5"),
        ("social", 64, "social"),
    ],
)
def test_sides_and_blurs_go_with_the_side_of_the_image(degradation: str, image_px: int, expected: str) -> None:
    assert scale_to(degradation, image_px) == expected


def test_unknown_degradations_are_refused() -> None:
    with pytest.raises(ValueError, match="degrade is 'fog:3': expected one of jpeg:Q"):
        scale_to("fog:3", 64)


def make_copies(parts: dict[str, list[tuple[str, int | None, float]]]) -> Reading:
    """Copies of images: name of the degradation → (name of the image, label, score); a group an image, one seed."""
    rows = [(f"{name}/{image}", label, image, score) for name, part in parts.items() for image, label, score in part]
    keys, labels, images, scores = zip(*rows, strict=True)
    sources = ["real" if label == 0 else "fake" for label in labels]
    columns = {"key": keys, "label": pa.array(labels, pa.int8()), "image_source": sources}
    table = pa.table({**columns, "subset": ["set"] * len(rows), "group": images})
    return Reading(table, np.array([scores]), (Calibration(0.5),), is_probability=True)


IMAGES = [("a", 0, 0.1), ("b", 0, 0.2), ("c", 1, 0.8), ("d", 1, 0.9), ("photograph", None, 0.5)]


def test_copies_are_compared_with_the_same_images_as_they_are() -> None:
    jpeg = [("d", 1, 0.6), ("a", 0, 0.7), ("c", 1, 0.9), ("b", 0, 0.1)]
    blend = [("a", 0, 0.7), ("b", 0, 0.6), ("c", 1, 0.4)]
    copies = make_copies({AS_THEY_ARE: IMAGES, "jpeg:65": jpeg, "blend:0.5": blend})
    results, left_out = score_copies(dict.fromkeys(READINGS, copies), ["jpeg:65", "blend:0.5"])
    assert list(results) == [AS_THEY_ARE, "jpeg:65", "blend:0.5"] and not left_out
    means = {name: each["full"].scores["balanced_accuracy"].mean for name, each in results.items()}
    assert means == pytest.approx({AS_THEY_ARE: 1, "jpeg:65": 3 / 4, "blend:0.5": 0})
    assert [each["full"].num_images for each in results.values()] == [4, 4, 3]
    assert all(each["full"].unchanged["balanced_accuracy"].mean == 1 for each in results.values())
    described = numbers(results)["degradations"]["jpeg:65"]["full"]
    assert described["change"]["balanced_accuracy"]["mean"] == pytest.approx(-1 / 4) and described["n"] == 4
    assert (
        described["auroc"]["mean"] == pytest.approx(3 / 4) and described["unchanged"]["balanced_accuracy"]["mean"] == 1
    )


def test_a_degradation_without_generated_images_is_left_out_with_the_reason() -> None:
    copies = make_copies({AS_THEY_ARE: IMAGES, "blend:0.5": IMAGES[:2]})
    results, left_out = score_copies(dict.fromkeys(READINGS, copies), ["blend:0.5"])
    assert list(results) == [AS_THEY_ARE] and "no generated image of the test is known to come" in left_out["blend:0.5"]


def make_results(**readings: dict[str, float]) -> dict[str, dict[str, Result]]:
    """Reading → degradation → value of all metrics; 0.9 elsewhere and of the images as they are."""
    names = dict.fromkeys([AS_THEY_ARE, *(name for values in readings.values() for name in values)])

    def scores(reading: str, name: str) -> dict[str, Means]:
        return dict.fromkeys(METRICS, make_means(readings.get(reading, {}).get(name, 0.9)))

    return {name: {r: Result(100, scores(r, name), scores(r, AS_THEY_ARE)) for r in READINGS} for name in names}


def numbers_of(results: dict[str, dict[str, Result]], left_out: dict[str, str] | None = None) -> dict[str, Any]:
    names = [name for name in results if name != AS_THEY_ARE]
    titles = {name: entitle(name, "blur:1.25" if name == "blur:5" else name) for name in names}
    attacked = attack.numbers(make_attacks())
    return as_json({"titles": titles, **numbers(results), "left_out": left_out or {}, **attacked})


def test_finding_says_where_scores_are_lost() -> None:
    found = numbers_of(make_results(full={"jpeg:65": 0.505, "blur:3": 0.6}, mean_lare={"jpeg:65": 0.4, "blur:3": 0.3}))
    judged = judge(compare(found))
    assert select(judged, "chance", "full") == {
        AS_THEY_ARE: Verdict.BETTER,
        "jpeg:65": Verdict.SAME,
        "blur:3": Verdict.BETTER,
    }
    text = finding(found)
    line_with(text, "Image and map: consistent with chance", "jpeg:65 (1 of 2)")
    line_with(text, "Mean LaRE: inverted", "all 2 degradations")
    line_with(text, "Image only, images as they are and all degradations: significantly above")
    assert set(select(judged, "accuracy").values()) == {Verdict.WORSE} and "2 of 2" in headline(found)
    line_with(text, "Balanced accuracy of image and map at", Verdict.WORSE, "all 2 degradations")
    line_with(text, "under jpeg:65", "0.90 → 0.51", "AUROC 0.90 → 0.51")


def test_finding_when_no_accuracy_is_lost() -> None:
    found = numbers_of(make_results(full={"jpeg:65": 0.95}))
    line_with(finding(found), "Balanced accuracy of image and map at", Verdict.BETTER)
    results = make_results(full={"jpeg:65": 0.89})
    change = make_means(0.89, half_width=0.08)  # too uncertain
    results["jpeg:65"]["full"] = replace(results["jpeg:65"]["full"], scores=dict.fromkeys(METRICS, change))
    found = numbers_of(results)
    assert "0 of 1" in headline(found)
    line_with(finding(found), "Balanced accuracy of image and map at", Verdict.SAME, "jpeg:65")


def test_two_seeds_say_neither_what_is_lost_nor_what_the_map_adds() -> None:
    results = make_results(full={"jpeg:65": 0.2})
    few = dict.fromkeys(METRICS, make_means(0.2, num_seeds=2))
    before = dict.fromkeys(METRICS, make_means(0.9, num_seeds=2))
    for reading in ("full", "image_only", "map_only"):
        results["jpeg:65"][reading] = Result(100, few, before)
        results[AS_THEY_ARE][reading] = Result(100, before, before)
    text = finding(numbers_of(results))
    for part in ("Balanced accuracy of image and map at", "AP of image and map", "Image and map, images as they are"):
        line_with(text, part, Verdict.FEW_SEEDS)
    line_with(text, "Mean LaRE, images as they are", "above chance")
    assert Verdict.FEW_SEEDS in headline(numbers_of(results))


def test_finding_tells_what_the_map_adds_under_which_degradation() -> None:
    found = numbers_of(make_results(full={"jpeg:65": 0.8, "blur:3": 0.95, "noise:8": 0.9}))
    told = {"jpeg:65": Verdict.WORSE, "blur:3": Verdict.BETTER, "noise:8": Verdict.SAME}
    assert select(judge(compare(found)), "gain") == told
    text = finding(found)
    lines = [
        line_with(text, "AP of image and map", told[name], f"{name} (1 of 3)")
        for name in ("jpeg:65", "noise:8", "blur:3")
    ]
    assert [text.index(line) for line in lines] == sorted(text.index(line) for line in lines)
    assert "1 of 3" in headline(found)
    assert list_names(["noise:8"], ["noise:8"]) == "noise:8"


def test_of_many_degradations_the_few_that_are_not_meant_are_named() -> None:
    names = ["jpeg:90", "jpeg:65", "jpeg:30", "blur:3"]
    assert (
        list_names(names[:3], names) == "all but blur:3 (3 of 4)" and list_names(["blur:3"], names) == "blur:3 (1 of 4)"
    )
    assert list_names([], names) == "none" and list_names(names, names) == "all 4 degradations"


def test_finding_has_the_protocol_that_was_asked_and_what_was_left_out() -> None:
    text = finding(
        numbers_of(make_results(full={"jpeg:65": 0.5, "blur:3": 0.7, "noise:8": 0.1}), {"blend:0.5": "no pairs"})
    )
    line_with(text, "Image and map", "GenImage's jpeg:65, blur:3", "AP 0.60", "accuracy 0.60")
    line_with(text, "lend:0.5", "no pairs")
    assert "GenImage's" not in finding(numbers_of(make_results(full={"noise:8": 0.1})))


def test_charts_go_by_strength_and_start_at_the_images_as_they_are() -> None:
    results = make_results(full={"blur:5": 0.6, "blur:1": 0.8, "jpeg:65": 0.7, "jpeg:30": 0.5, "social": 0.4})
    found = {each.title: each for each in charts(numbers_of(results))}
    assert list(found)[:-1] == [
        *("JPEG: Balanced accuracy", "JPEG: AP", "Gaussian blur: Balanced accuracy", "Gaussian blur: AP"),
    ]
    blur, jpeg = found["Gaussian blur: AP"].curves[0], found["JPEG: AP"].curves[0]
    assert (blur.name, blur.x, blur.y) == ("image and map", (0, 1, 5), (0.9, 0.8, 0.6))
    assert jpeg.x == (30, 65) and jpeg.low is not None and jpeg.low[0] < jpeg.y[0]


def test_tables_have_a_row_a_degradation_and_name_what_was_done() -> None:
    found = list(tables(numbers_of(make_results(full={"blur:5": 0.6, "jpeg:65": 0.7}))))[:5]
    for table in found:
        assert [row[0] for row in table.rows][-2:] == ["blur:5 (blur:1.25)", "jpeg:65"]
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert found[0].rows[1][1:3] == (100, "0.60 (0.59 to 0.61) ±0.000")
    assert str(found[-1].rows[1][1]).startswith("−0.300") and str(found[-2].rows[0][1]).startswith("−0.300")


@pytest.mark.slow
def test_answer_from_test_images_to_the_attack_and_again(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "run_module", run_here)
    data = write_small_set(tmp_path / "small", photographs, is_matched=True)
    asked = ("jpeg:30", "resize:112", "crop:0.5", "blend:0.25")
    study = make_study(data.folder, model_folders["a"], tmp_path, degradations=asked)
    answer = degradation.answer(study)
    assert Answer.load(study.write(answer)).finding == answer.finding and TELLING.retell(answer) == answer
    assert list_fitted(study) == list_planned(degradation.work(study))
    assert answer.settings["degradations"] == ["jpeg:30", "resize:112 (resize:28)", "crop:0.5", "blend:0.25"]
    described = answer.numbers["degradations"]
    num_photographs, num_test = 3, 3 * 2 * 3  # photographs × tiles × (round trip, derived, free)
    assert {name: each["full"]["n"] for name, each in described.items()} == {
        **dict.fromkeys((AS_THEY_ARE, "jpeg:30", "resize:112", "crop:0.5"), num_test),
        "blend:0.25": num_photographs * 2 * 2,  # those that come from no photograph are left out
    }
    united = Dataset.open(study.config.out / "data" / "degraded").table().to_pylist()
    sizes = {(row["key"].split("/")[0], row["format"], row["width"]) for row in united}
    assert {(AS_THEY_ARE, "PNG", 64), ("jpeg:30", "JPEG", 64), ("resize:112", "PNG", 28)} <= sizes
    assert {row["image_source"] for row in united if row["label"] == 0} == {ROUNDTRIP}
    attacked = Dataset.open(study.config.out / "data" / "attacked")
    assert len(attacked.table()) == len(EPSILONS) * num_test
    check_attacked_pixels(attacked, Dataset.open(study.config.data))
    assert list(answer.numbers["attacks"]["image only"]) == ["0", *map(str, EPSILONS)]
    stamps = {path: path.stat() for path in study.config.out.rglob("*.parquet")}
    assert json.dumps(degradation.answer(study).numbers) == json.dumps(answer.numbers)
    assert {path: path.stat() for path in study.config.out.rglob("*.parquet")} == stamps


def check_attacked_pixels(attacked: Dataset, before: Dataset) -> None:
    """Pixels move by no more than the step, by just that somewhere, and not at all outside the detector's box."""
    originals = {sample.key: pixels_of(sample) for sample in read_samples(before)}
    for sample in read_samples(attacked):
        size, _, key = sample.key.partition("/")
        change = np.abs(pixels_of(sample) - originals[key])
        assert change.max() == int(size) and not change[56:].any() and not change[:, 56:].any()  # 7 of 8 map cells


def pixels_of(sample: Sample) -> np.ndarray:
    return np.asarray(decode_image(sample.image)).astype(int)
