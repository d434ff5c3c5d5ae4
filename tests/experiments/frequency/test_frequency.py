import json
from typing import Any

import pytest

from experiments.answers.readings import MEAN
from experiments.answers.rule import Verdict
from experiments.frequency.equal_detail import Line, Matched
from experiments.frequency.frequency import answer
from experiments.frequency.local_detail import Correlation
from experiments.frequency.telling import (
    MEASURES,
    SIDES,
    TELLING,
    find_sides,
    find_uncorrelated,
    finding,
    headline,
    tables,
)
from experiments.study.comparisons import summarize
from experiments.study.over_sources import Means
from experiments.study.study import Study
from tests.experiments.made_up import as_json, line_with, make_means

LINE = Line(0.5, 0.0, 0.8)


def matched(auroc: float | None) -> Matched:
    if auroc is None:
        return Matched(0, 9, False, {}, None, None, None)
    readings = dict.fromkeys(("mean_lare", "gradient_energy"), make_means(auroc))
    return Matched(8, 9, True, readings, auroc, (auroc - 0.1, auroc + 0.1), 8)


def scores(mean: float, *sources: str) -> dict[str, dict[str, dict[str, Means]]]:
    by_source = {source: {"auroc": make_means(mean)} for source in (MEAN, *sources)}
    return dict.fromkeys(("mean_lare", "gradient_energy", "residual"), by_source)


def correlations(*means: float) -> dict[str, dict[str, Correlation]]:
    by_source = {f"s{i}": Correlation(mean, (mean - 0.1, mean + 0.1), 9, 9) for i, mean in enumerate(means)}
    return dict.fromkeys(MEASURES, by_source)


def numbers_of(
    by_source: dict[str, Matched],
    rank: dict[str, dict[str, Correlation]] | None = None,
    *,
    mean: float = 0.7,
    gain: float = 0.0,
) -> dict[str, Any]:
    readings = {name: summarize(each) for name, each in scores(mean, *by_source).items()}
    ranks = correlations(0.5) if rank is None else rank
    found = {
        "caliper": 1.1,
        "correlations": {name: {s: vars(c) for s, c in by.items()} for name, by in ranks.items()},
        "matched": {s: {**vars(m), "auroc": summarize({"": m.auroc})[""]} for s, m in by_source.items()},
        "line": vars(LINE),
        "readings": {"test": readings},
        "gain_of_residual": {MEAN: make_means(gain).describe()},
        "points": {},
    }
    return as_json(found)


@pytest.mark.parametrize(("auroc", "side"), [(0.4, -1), (0.5, 0), (0.6, 1)])
def test_finding_says_what_is_left_at_equal_detail(auroc: float, side: int) -> None:
    found = numbers_of({"a": matched(auroc)})
    assert find_sides(found) == {side: ["a"]}
    line_with(finding(found), "Matched images of a:", SIDES[side], f"AUROC {auroc:.2f}", "unmatched 0.70")
    assert SIDES[side] in headline(found)


def test_finding_says_where_there_are_no_pairs() -> None:
    found = numbers_of({"none": matched(None)})
    assert find_sides(found) == {} and not any(side in headline(found) for side in SIDES.values())
    line_with(finding(found), "No real images", "none.")


def test_what_fails_comes_first() -> None:
    found = numbers_of({"good": matched(0.6), "none": matched(None), "bad": matched(0.4), "even": matched(0.5)})
    assert find_sides(found) == {-1: ["bad"], 0: ["even"], 1: ["good"]}
    text, head = finding(found), headline(found)
    places = [text.index(word) for word in ("of bad:", "of even:", "of good:", "for none.")]
    assert places == sorted(places)
    assert head.index("bad") < head.index("even") < head.index("good") and "none" not in head


@pytest.mark.parametrize(
    ("residual", "gain", "verdict"),
    [(0.4, -0.1, Verdict.INVERTED), (0.5, 0.0, Verdict.CHANCE), (0.6, 0.1, Verdict.BETTER)],
)
def test_finding_says_what_the_line_leaves(residual: float, gain: float, verdict: Verdict) -> None:
    text = finding(numbers_of({"a": matched(0.5)}, mean=residual, gain=gain))
    line_with(text, "80 % of the variance")
    line_with(text, "residual against mean LaRE", verdict, f"{gain:+.3f}".replace("-", "−"))
    line = line_with(text, "residual of log mean LaRE", f"{residual:.2f}")
    assert ("inverted" in line) is (verdict is Verdict.INVERTED) and ("consistent with chance" in line) is (
        verdict is Verdict.CHANCE
    )


def test_finding_names_sources_without_a_correlation() -> None:
    found = numbers_of({"a": matched(0.5)}, correlations(0.6, 0.05, 0.4))
    assert find_uncorrelated(found, "gradient") == ["s1"]
    line = line_with(finding(found), "local gradient energy", "0.05 (−0.05 to 0.15) (s1)", "0.60 (0.50 to 0.70) (s0)")
    assert line.endswith("s1.")
    certain = numbers_of({"a": matched(0.5)}, correlations(0.6))
    assert find_uncorrelated(certain, "gradient") == [] and "for s0" not in finding(certain)
    line_with(finding(numbers_of({"a": matched(0.5)}, {name: {} for name in MEASURES})), "No image", "high-frequency")


def test_tables_leave_out_what_is_not_defined() -> None:
    one, other = correlations(0.5, 0.4).values()
    found = numbers_of({"a": matched(None)}, {"gradient": one, "high_frequency": {"s1": other["s1"]}})
    ranks, pairs, _ = tables(found)
    assert pairs.rows[0][:4] == ("a", 9, 0, "no") and pairs.rows[0][-3:] == (None, None, None)
    assert [row[2:] for row in ranks.rows] == [("0.50 (0.40 to 0.60)", None), ("0.40 (0.30 to 0.50)",) * 2]


def test_answer_from_a_cache(study: Study) -> None:
    found = answer(study)
    numbers = json.loads(study.write(found).read_text())["numbers"]
    assert set(numbers["correlations"]["gradient"]) == {"real", "toy"} and TELLING.retell(found) == found
    # The images are noise, and so are the maps: no correlation of four images' 64 cells is near 1.
    assert all(abs(each["mean"]) < 0.5 for each in numbers["correlations"]["gradient"].values())
    assert numbers["matched"]["toy"]["num_generated"] == 2
    assert [curve.name for curve in found.charts[0].curves] == ["real", "toy"]
    assert set(numbers["readings"]["test"]) == {"mean_lare", "gradient_energy", "residual"}
