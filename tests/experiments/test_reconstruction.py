from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.answers.answer import Answer
from experiments.answers.rule import Verdict
from experiments.reconstruction import (
    METHODS,
    READINGS,
    answer,
    charts,
    choose,
    compare_with_lare,
    compare_with_roundtrips,
    find_inverted,
    finding,
    headline,
    name_setting,
    tables,
    work,
)
from experiments.study import study as study_module
from experiments.study.settings import Scored, summarize
from tests.experiments.made_up import (
    as_json,
    line_with,
    list_fitted,
    list_planned,
    make_mean_lare,
    make_scored,
    run_here,
)
from tests.experiments.small_set import make_study, write_small_set

COSTS = {"lare": 2.0, "dire": 8.0, "one_step": 3.0, "roundtrip": 1.5}
SIZES = {"lare": 0.26, "dire": 0.061, "one_step": 0.1, "roundtrip": 0.05}
SHARES = {
    "lare": {"a": {"lower": 0.6, "interval": (0.5, 0.7), "n": 9}},
    "dire": {"a": {"lower": 0.25, "interval": (0.2, 0.3), "n": 9}},
}


def scores(**test: float) -> dict[str, Scored]:
    """Test AUROC of each method; on validation the other way round."""
    return {method: make_scored({"a": 1 - test[method]}, {"a": test[method], "b": test[method]}) for method in METHODS}


SCORED = scores(lare=0.6, dire=0.7, one_step=0.6, roundtrip=0.4)


def numbers_of(by_method: Mapping[str, Scored], shares: Mapping[str, Any] = SHARES) -> dict[str, Any]:
    found = {
        "giga_macs": COSTS,
        "mean_error": SIZES,
        "lower_than_own_roundtrip": shares,
        "differences": dict.fromkeys(READINGS, compare_with_lare(by_method)),
        "readings": summarize({name_setting(r, m): each for r in READINGS for m, each in by_method.items()}),
    }
    return as_json(found)


def test_finding_compares_each_method_with_lare_and_says_what_is_worse_first() -> None:
    numbers = numbers_of(SCORED)
    text = finding(numbers)
    for title in READINGS.values():
        lines = [
            line_with(text, f"{method}, {title}", "LaRE", word)
            for method, word in (
                (METHODS["roundtrip"], Verdict.WORSE),
                ("ne-step reconstruction", Verdict.SAME),
                (METHODS["dire"], Verdict.BETTER),
            )
        ]
        assert [text.index(line) for line in lines] == sorted(text.index(line) for line in lines)
        assert "−0.200" in lines[0] and "+0.100" in lines[2]
    head = headline(numbers)
    assert head.index(METHODS["roundtrip"]) < head.index(METHODS["one_step"]) < head.index(METHODS["dire"])
    assert "0.8 to 4.0 times" in head


def test_finding_shows_the_choice_of_validation_with_its_test_figure() -> None:
    numbers = numbers_of(SCORED)
    assert choose(numbers, "mean_lare") == "roundtrip"
    line_with(finding(numbers), "Mean of the map: ", METHODS["roundtrip"], "0.40 (0.39 to 0.41)")


@pytest.mark.parametrize(("lowest", "inverted"), [(0.4, {"roundtrip": ["a", "b"]}), (0.495, {})])
def test_finding_tells_what_lies_below_one_half(lowest: float, inverted: dict[str, list[str]]) -> None:
    numbers = numbers_of(scores(lare=0.6, dire=0.7, one_step=0.5, roundtrip=lowest))
    assert find_inverted(numbers) == inverted
    assert ("a and b." in line_with(finding(numbers), "- VAE reconstruction: inverted")) if inverted else True
    assert ("- VAE reconstruction: inverted" in finding(numbers)) is bool(inverted)


def test_finding_tells_pairs_and_cost() -> None:
    text = finding(numbers_of(SCORED))
    line_with(text, "- LaRE: ", "60 % of a")
    line_with(text, "- DIRE: ", "25 % of a")
    line_with(text, "LaRE: 2 GMAC")
    for name, ratio in (("DIRE", "4.00"), ("one-step reconstruction", "1.50"), ("VAE reconstruction", "0.75")):
        line_with(text, f"Cost of {name}: {ratio} times")
    line_with(text, "0.26 (LaRE)", "0.061 (DIRE)", "0.1 (one-step reconstruction)", "0.05 (VAE reconstruction)")
    assert "60 %" not in finding(numbers_of(SCORED, {"lare": {}, "dire": {}}))


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
    numbers = numbers_of(SCORED)
    means, _, _, full, differences, shares = tables(numbers)
    assert [row[:4] for row in means.rows[:2]] == [("LaRE", 2.0, "1.00", 0.26), ("DIRE", 8.0, "4.00", 0.061)]
    assert len(means.columns) == len(means.rows[0]) == 4 + 3 * 2 * 2
    assert full.rows[0] == ("LaRE", "AUROC", *("0.60 (0.59 to 0.61) ±0.000",) * 2)
    assert differences.columns[2:] == ("mean", "a", "b") and len(differences.rows) == 9
    assert shares.rows == (("a", 9, "0.60 (0.50 to 0.70)", "0.25 (0.20 to 0.30)"),)
    (chart,) = charts(numbers)
    for curve in chart.curves:
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
    assert list_fitted(study) == list_planned(work(study))
    assert found.settings["caches"] == {
        **{"lare": "t200-e4", "dire": "dire", "one_step": "one_step-t200-e4", "roundtrip": "roundtrip"}
    }
    costs = found.numbers["giga_macs"]
    assert list(costs) == list(METHODS) and costs["roundtrip"] < costs["one_step"] < costs["dire"]
    assert set(found.numbers["lower_than_own_roundtrip"]["dire"]) == {"derived"}
    assert set(found.numbers["readings"]["test"]) == {f"{m}, {r}" for m in METHODS.values() for r in READINGS.values()}
