import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.ensemble import answer, compare_with_fewest, describe, find_smallest, load_giga_macs, sum_up, tabulate
from experiments.study.study import Study
from tests.experiments.made_up import make_scored

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


@pytest.mark.parametrize(
    ("default", "verdict"), [(1, "is too small"), (2, "is as small as can be"), (4, "is larger than needed")]
)
def test_finding_judges_the_default(default: int, verdict: str) -> None:
    flat, rising = by_size(0.6, 0.6, 0.6), by_size(0.5, 0.6, 0.6)
    scored = {"mean_lare": flat, "map_only": rising}
    gains = {reading: compare_with_fewest(each) for reading, each in scored.items()}
    text = describe(gains, {reading: find_smallest(each) for reading, each in scored.items()}, CORRELATIONS, default)
    assert "Not told apart: mean LaRE, e = 4 and e = 1, +0.000" in text
    assert "Better: detector, map only, e = 4 than e = 1, +0.100" in text
    assert text.index("Not told apart") < text.index("Better")
    assert sum_up(gains) == (
        "The largest ensemble against the smallest, not told apart: mean LaRE (e = 4); better: detector, map only "
        "(e = 4)."
    )
    assert "on validation: mean LaRE e = 1, detector, map only e = 2. " in text
    assert (
        f"The default e = {default} {verdict} by that." in text
        and "at e = 1 and at e = 4 has a correlation of 0.980." in text
    )


def test_table_holds_cost_correlation_and_both_splits() -> None:
    table = tabulate({"mean_lare": by_size(0.5, 0.6, 0.7)}, CORRELATIONS, {1: 5.0, 2: 7.0, 4: None})
    assert table.columns[-2:] == ("mean LaRE, validation", "mean LaRE, test")
    assert table.rows[0][:4] == (1, 1, 5.0, 0.98) and table.rows[2][2] is None
    assert table.rows[0][4].startswith("0.50") and table.rows[0][5].startswith("0.60")


def test_answer_from_caches(study: Study) -> None:
    found = answer(study)
    numbers = json.loads(study.write(found).read_text())["numbers"]
    assert numbers["correlations"]["2"] == pytest.approx(1.0) and -1 < numbers["correlations"]["1"] < 1
    assert set(numbers["readings"]["test"]) == {"mean LaRE, e = 1", "mean LaRE, e = 2"}


def test_one_size_is_nothing_to_compare(study: Study) -> None:
    with pytest.raises(ValueError, match="expected several to compare"):
        answer(Study(replace(study.config, ensemble_sizes=(2,))))
