import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.answers.rule import Verdict
from experiments.ensemble import (
    TELLING,
    answer,
    compare_with,
    find_enough,
    finding,
    headline,
    load_giga_macs,
    name_setting,
    tables,
)
from experiments.study.settings import summarize
from experiments.study.study import Study
from tests.experiments.made_up import as_json, line_with, make_scored

CORRELATIONS = {1: 0.98, 2: 0.99, 4: 1.0}


def by_size(*aurocs: float, num_seeds: int = 5) -> dict:
    """Of each size on validation; on the test AUROCs are higher by 0.1. Readings of one value share their resamples."""
    scored = (make_scored({"a": auroc}, {"a": auroc + 0.1}, num_seeds=num_seeds) for auroc in aurocs)
    return dict(zip((1, 2, 4), scored, strict=True))


def test_cost_is_one_encoding_and_a_call_a_draw(tmp_path: Path) -> None:
    assert load_giga_macs(tmp_path / "costs.json", [1, 4]) == {1: None, 4: None}
    (tmp_path / "costs.json").write_text(json.dumps({"image_size_px": 64, "vae_encoder": 3e9, "unet": 2e9}))
    assert load_giga_macs(tmp_path / "costs.json", [1, 4]) == {1: 5.0, 4: 11.0}


def numbers_of(default: int = 2, **scored: dict) -> dict:
    """Reading → ensemble size → scores."""
    named = {name_setting(reading, e): each for reading, by in scored.items() for e, each in by.items()}
    found = {
        "default": default,
        "correlations": CORRELATIONS,
        "giga_macs": {1: 5.0, 2: 7.0, 4: None},
        "margin": 0.01,
        "gains": {reading: compare_with(by, min(by)) for reading, by in scored.items()},
        "less_largest": {reading: compare_with(by, max(by)) for reading, by in scored.items()},
        "readings": summarize(named),
    }
    return as_json(found)


@pytest.mark.parametrize(
    ("aurocs", "enough"), [((0.6, 0.7, 0.7), "2"), ((0.7, 0.7, 0.6), "1"), ((0.5, 0.6, 0.7), None)]
)
def test_smallest_ensemble_is_the_first_that_is_shown_to_be_as_good(
    aurocs: tuple[float, ...], enough: str | None
) -> None:
    assert find_enough(numbers_of(map_only=by_size(*aurocs))) == {"map_only": enough}
    assert find_enough(numbers_of(map_only=by_size(*aurocs, num_seeds=2))) == {"map_only": None}


def test_that_nothing_was_found_does_not_make_an_ensemble_enough() -> None:
    # Unpaired resamples: the interval of the difference is ±0.03, wider than the margin.
    wide = make_scored({"a": 0.7}, {"a": 0.8}, half_width=0.04)
    numbers = numbers_of(map_only=by_size(0.7, 0.7, 0.7) | {1: wide})
    assert find_enough(numbers) == {"map_only": "2"}


def test_older_answers_know_the_smallest_ensemble_alone() -> None:
    numbers = numbers_of(mean_lare=by_size(0.6, 0.6, 0.6, num_seeds=0))
    del numbers["less_largest"], numbers["margin"]
    assert find_enough(numbers) == {"mean_lare": "1"}


def test_finding_tells_gains_and_what_is_enough() -> None:
    numbers = numbers_of(mean_lare=by_size(0.6, 0.6, 0.6), map_only=by_size(0.5, 0.6, 0.6), full=by_size(0.5, 0.6, 0.7))
    text = finding(numbers)
    flat = line_with(text, "Mean LaRE, e = 4", "e = 1", "+0.000", Verdict.SAME)
    rising = line_with(text, "map only, e = 4", "e = 1", "+0.100", Verdict.BETTER)
    assert text.index(flat) < text.index(rising)
    head = headline(numbers)
    assert head.index("mean LaRE") < head.index("map only") and Verdict.BETTER in head and "e = 4 against e = 1" in head
    line_with(text, "Mean LaRE: ", "e = 1 is enough")
    line_with(text, "map only: ", "e = 2 is enough")
    line_with(text, "image + map: ", "no smaller")
    line_with(text, "default is e = 2", "e = 1", "e = 4", "0.980")


def test_two_seeds_give_no_verdict() -> None:
    numbers = numbers_of(map_only=by_size(0.5, 0.6, 0.9, num_seeds=2))
    line_with(finding(numbers), "map only, e = 4", Verdict.FEW_SEEDS, "+0.400")
    line_with(finding(numbers), "map only: ", Verdict.FEW_SEEDS)
    assert Verdict.FEW_SEEDS in headline(numbers)


def test_headline_says_where_nothing_is_gained() -> None:
    assert "Nothing significant" in headline(numbers_of(mean_lare=by_size(0.6, 0.6, 0.6)))


def test_table_holds_cost_correlation_and_both_splits() -> None:
    table, gains = tables(numbers_of(mean_lare=by_size(0.5, 0.6, 0.7)))
    assert table.columns[-2:] == ("mean LaRE, validation", "mean LaRE, test")
    assert table.rows[0][:4] == (1, 1, 5.0, 0.98) and table.rows[2][2] is None
    assert table.rows[0][4].startswith("0.50") and table.rows[0][5].startswith("0.60")
    assert [row[:2] for row in gains.rows] == [("mean LaRE", "validation"), ("mean LaRE", "test")]


def test_answer_from_caches(study: Study) -> None:
    found = answer(study)
    numbers = json.loads(study.write(found).read_text())["numbers"]
    assert numbers["correlations"]["2"] == pytest.approx(1.0) and -1 < numbers["correlations"]["1"] < 1
    assert TELLING.retell(found) == found
    assert set(numbers["readings"]["test"]) == {"mean LaRE, e = 1", "mean LaRE, e = 2"}


def test_one_size_is_nothing_to_compare(study: Study) -> None:
    with pytest.raises(ValueError, match="expected several to compare"):
        answer(Study(replace(study.config, ensemble_sizes=(2,))))
