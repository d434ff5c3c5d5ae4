import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.answers.verdicts import WORDS, judge
from experiments.ensemble import (
    TELLING,
    answer,
    compare_with_fewest,
    find_smallest,
    finding,
    headline,
    judge_default,
    load_giga_macs,
    name_setting,
    tables,
)
from experiments.study.settings import summarize
from experiments.study.study import Study
from tests.experiments.made_up import as_json, line_with, make_scored

CORRELATIONS = {1: 0.98, 2: 0.99, 4: 1.0}


def by_size(*aurocs: float) -> dict:
    return {e: make_scored({"a": auroc}, {"a": auroc + 0.1}) for e, auroc in zip((1, 2, 4), aurocs, strict=True)}


def test_cost_is_one_encoding_and_a_call_a_draw(tmp_path: Path) -> None:
    assert load_giga_macs(tmp_path / "costs.json", [1, 4]) == {1: None, 4: None}
    (tmp_path / "costs.json").write_text(json.dumps({"image_size_px": 64, "vae_encoder": 3e9, "unet": 2e9}))
    assert load_giga_macs(tmp_path / "costs.json", [1, 4]) == {1: 5.0, 4: 11.0}


def test_smallest_ensemble_is_the_first_that_the_largest_does_not_beat() -> None:
    assert find_smallest(by_size(0.6, 0.7, 0.7)) == 2
    assert find_smallest(by_size(0.7, 0.7, 0.6)) == 1
    assert find_smallest(by_size(0.5, 0.6, 0.7)) == 4


def numbers_of(default: int = 2, **scored: dict) -> dict:
    """Reading → ensemble size → scores."""
    named = {name_setting(reading, e): each for reading, by in scored.items() for e, each in by.items()}
    found = {
        "default": default,
        "correlations": CORRELATIONS,
        "giga_macs": {1: 5.0, 2: 7.0, 4: None},
        "smallest_not_worse_on_validation": {reading: find_smallest(by) for reading, by in scored.items()},
        "gains": {reading: compare_with_fewest(by) for reading, by in scored.items()},
        "readings": summarize(named),
    }
    return as_json(found)


@pytest.mark.parametrize(("default", "verdict"), [(1, -1), (2, 0), (4, 1)])
def test_finding_judges_the_default(default: int, verdict: int) -> None:
    numbers = numbers_of(default, mean_lare=by_size(0.6, 0.6, 0.6), map_only=by_size(0.5, 0.6, 0.6))
    assert judge_default(numbers) == verdict
    text, gains = finding(numbers), numbers["gains"]
    assert judge(gains["mean_lare"]["4"]["test"]) == 0 and judge(gains["map_only"]["4"]["test"]) == 1
    flat = line_with(text, "Mean LaRE, e = 4", "e = 1", "+0.000")
    rising = line_with(text, "map only, e = 4", "e = 1", "+0.100")
    assert WORDS[0] in flat and WORDS[1] in rising and text.index(flat) < text.index(rising)
    head = headline(numbers)
    assert head.index("ean LaRE, e = 4") < head.index("map only, e = 4") and WORDS[1] in head and "e = 1" in head
    line_with(text, "Mean LaRE: ", "is e = 1.")
    line_with(text, "map only: ", "is e = 2.")
    line_with(text, f"default e = {default}")
    line_with(text, "e = 1", "e = 4", "0.980")


def test_headline_says_where_nothing_is_gained() -> None:
    assert not any(word in headline(numbers_of(mean_lare=by_size(0.6, 0.6, 0.6))) for word in WORDS.values())


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
