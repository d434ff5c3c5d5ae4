from collections.abc import Mapping
from pathlib import Path

import pytest

from experiments.answers.answer import Answer
from experiments.reconstruction import (
    METHODS,
    READINGS,
    Share,
    answer,
    compare_with_lare,
    compare_with_roundtrips,
    describe,
    draw,
    sum_up,
    tabulate,
    tabulate_by_source,
    tabulate_differences,
    tabulate_shares,
)
from experiments.study import study as study_module
from experiments.study.settings import Scored
from tests.experiments.made_up import make_mean_lare, make_scored, run_here
from tests.experiments.small_set import make_study, write_small_set

COSTS = {"lare": 2.0, "dire": 8.0, "one_step": 3.0, "roundtrip": 1.5}
SIZES = {"lare": 0.26, "dire": 0.061, "one_step": 0.1, "roundtrip": 0.05}
SHARES = {"lare": {"a": Share(0.6, (0.5, 0.7), 9)}, "dire": {"a": Share(0.25, (0.2, 0.3), 9)}}


def scores(**test: float) -> dict[str, Scored]:
    """Test AUROC of each method; on validation the other way round."""
    return {method: make_scored({"a": 1 - test[method]}, {"a": test[method], "b": test[method]}) for method in METHODS}


SCORED = scores(lare=0.6, dire=0.7, one_step=0.6, roundtrip=0.4)


def finding(by_method: Mapping[str, Scored], shares: Mapping[str, Mapping[str, Share]]) -> str:
    scored = dict.fromkeys(READINGS, by_method)
    differences = {reading: compare_with_lare(each) for reading, each in scored.items()}
    return describe(scored, differences, shares, SIZES, COSTS)


def test_finding_compares_each_method_with_lare_and_says_what_is_worse_first() -> None:
    text = finding(SCORED, SHARES)
    for title in ("Mean of the map: ", "Detector, map only: ", "Detector, image + map: "):
        part = text[text.index(title) :]
        places = [part.index(word) for word in ("Worse: ", "Not told apart: ", "Better: ")]
        assert places == sorted(places)
    assert sum_up(compare_with_lare(SCORED)) == (
        "Maps alone against LaRE's, worse: autoencoder's round trip; not told apart: one-step reconstruction; better: "
        "DIRE."
    )
    assert "Worse: autoencoder's round trip than LaRE, −0.200" in text and "Better: DIRE than LaRE, +0.100" in text


def test_finding_shows_the_choice_of_validation_with_its_test_figure() -> None:
    text = finding(SCORED, SHARES)
    assert "Validation chooses autoencoder's round trip for mean of the map: test AUROC 0.40 (0.39 to 0.41)" in text


@pytest.mark.parametrize(
    ("lowest", "says"),
    [
        (0.4, "not turned round: autoencoder's round trip (a, b)."),
        (0.495, "For no method and image source the mean error of generated images is told to be the higher one."),
    ],
)
def test_finding_tells_what_lies_below_one_half(lowest: float, says: str) -> None:
    assert says in finding(scores(lare=0.6, dire=0.7, one_step=0.5, roundtrip=lowest), SHARES)


def test_finding_tells_pairs_and_cost() -> None:
    text = finding(SCORED, SHARES)
    assert "round trip of the own photograph: LaRE a 60 %; DIRE a 25 %." in text
    assert (
        "2 GMAC an image, the others take: DIRE 4.00, one-step reconstruction 1.50, autoencoder's round trip 0.75 times"
        in text
    )
    assert "Maps have a mean of LaRE 0.26, DIRE 0.061, one-step reconstruction 0.1, autoencoder's" in text
    assert "No generated image could be compared" in finding(SCORED, {"lare": {}, "dire": {}})


def test_pairs_are_of_the_own_photograph_and_the_own_models_round_trip() -> None:
    rows = [
        ("p", None, "real", "g", None, 9.0),
        ("ra", 0, "vae-roundtrip-a", "g", "p", 2.0),
        ("rb", 0, "vae-roundtrip-b", "g", "p", 4.0),
        ("fa", 1, "toy-a-img2img", "g", "p", 3.0),
        ("fb", 1, "toy-b-img2img", "g", "p", 3.0),
        ("s", 1, "toy-a", "s", None, 1.0),
        ("blur", None, "blurred-real", "g", "p", 1.0),
    ]
    found = compare_with_roundtrips(make_mean_lare(rows))
    assert {source: (share.lower, share.n) for source, share in found.items()} == {
        "toy-a-img2img": (0.0, 1),
        "toy-b-img2img": (1.0, 1),
    }
    assert compare_with_roundtrips(make_mean_lare([rows[0], rows[3]])) == {}  # no round trip: the photograph is none


def test_methods_of_different_images_are_not_compared() -> None:
    other = make_scored({"a": 0.5}, {"a": 0.5, "b": 0.5}, keys="cd")
    with pytest.raises(ValueError, match="features of different images"):
        compare_with_lare(SCORED | {"dire": other})


def test_tables_and_chart_have_every_method() -> None:
    scored = dict.fromkeys(READINGS, SCORED)
    table = tabulate(scored, SIZES, COSTS)
    assert [row[:4] for row in table.rows[:2]] == [("LaRE", 2.0, "1.00", 0.26), ("DIRE", 8.0, "4.00", 0.061)]
    assert len(table.columns) == len(table.rows[0]) == 4 + 3 * 2 * 2
    assert tabulate_by_source("full", SCORED).rows[0] == ("LaRE", "AUROC", *("0.60 (0.59 to 0.61) ±0.000",) * 2)
    differences = {reading: compare_with_lare(SCORED) for reading in READINGS}
    table = tabulate_differences(differences)
    assert table.columns == ("", "", "mean", "a", "b") and len(table.rows) == 9
    assert tabulate_shares(SHARES).rows == (("a", 9, "0.60 (0.50 to 0.70)", "0.25 (0.20 to 0.30)"),)
    for curve in draw(scored, COSTS).curves:
        assert curve.x == (2, 8, 3, 1.5) and curve.y == pytest.approx((0.6, 0.7, 0.6, 0.4))
        assert curve.labels == tuple(METHODS.values())


@pytest.mark.slow
def test_answer_from_all_methods(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "run_module", run_here)
    data = write_small_set(tmp_path / "small", photographs, is_matched=True)
    overrides = ("--trainer.accelerator=cpu", "--data.batch_size=4", "--data.num_workers=0")
    study = make_study(data.folder, model_folders["a"], tmp_path, fit_overrides=overrides)
    found = answer(study)
    assert Answer.load(study.write(found)).finding == found.finding
    assert found.settings["caches"] == {
        **{"lare": "t200-e4", "dire": "dire", "one_step": "one_step-t200-e4", "roundtrip": "roundtrip"}
    }
    costs = found.numbers["giga_macs"]
    assert list(costs) == list(METHODS) and costs["roundtrip"] < costs["one_step"] < costs["dire"]
    assert set(found.numbers["lower_than_own_roundtrip"]["dire"]) == {"derived"}
    assert set(found.numbers["readings"]["test"]) == {f"{m}, {r}" for m in METHODS.values() for r in READINGS.values()}
