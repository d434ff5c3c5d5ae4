import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.answers.readings import MEAN, TITLES
from experiments.answers.rule import Verdict, judge
from experiments.study.settings import Scored, subtract_means, summarize
from experiments.study.study import Study
from experiments.timestep import timestep
from experiments.timestep.telling import (
    TELLING,
    charts,
    compare,
    find_sides,
    finding,
    headline,
    name_setting,
    tables,
)
from experiments.timestep.timestep import answer, choose
from tests.experiments.made_up import as_json, line_with, make_means, make_scored

ENERGY = make_scored({"a": 0.4}, {"a": 0.4, "b": 0.4})


def gap(sign: int, *, half_width: float = 0.05, is_paired: bool = False) -> dict[str, Any]:
    """A gap of 0.1 to one side, or of none."""
    ends = (0.1 * sign - half_width, 0.1 * sign + half_width)
    return {"relative": 0.1 * sign, "interval": ends, "se": half_width / 2, "n_groups": 90, "n": 7} | {
        "is_paired": is_paired
    }


def gaps_of(signs: dict[str, list[int]], timesteps: tuple[int, ...] = (50, 200)) -> dict[str, Any]:
    """Image source → sign of the gap at each timestep; paired where the first is 0."""
    return as_json(
        {
            t: {source: gap(each[i], is_paired=each[0] == 0) for source, each in signs.items()}
            for i, t in enumerate(timesteps)
        }
    )


def own_of(own: int | None, lost: float = 0.0, num_seeds: int = 5) -> dict[str, Any]:
    """A source's own timestep, and what the chosen one loses against it on the other half."""
    aurocs = [make_means(0.7 + lost, num_seeds=num_seeds).describe(), make_means(0.7, num_seeds=num_seeds).describe()]
    return {"own": own, "lost": make_means(lost, num_seeds=num_seeds).describe(), "aurocs": aurocs}


def numbers_of(
    scored: dict[int, Scored],
    default: int,
    reading: str = "mean_lare",
    own: dict[str, dict[str, Any]] | None = None,
    **gaps: Any,
) -> dict[str, Any]:
    """One reading at some timesteps; sources have no timestep of their own unless `own` gives one."""
    named = {name_setting(reading, t): each for t, each in scored.items()}
    sources = [source for source in scored[default].test if source != MEAN]
    with pytest.MonkeyPatch.context() as patch:
        same = {source: own_of(max(scored)) for source in sources}
        patch.setattr(timestep, "compare_own", lambda tests, chosen: same | (own or {}))
        choice = choose(scored, {}, default)
    if own is None:
        choice["by_source"] = {s: each | {"own": choice["chosen"]} for s, each in choice["by_source"].items()}
    found = {
        "default": default,
        "gaps": gaps_of({source: [-1] * len(scored) for source in sources}, tuple(scored)),
        "choices": {reading: choice},
        "readings": summarize({**named, TITLES["gradient_energy"]: ENERGY}),
    }
    return as_json(found | gaps)


SCORED = {
    50: make_scored({"a": 0.7}, {"a": 0.65, "b": 0.55}),
    200: make_scored({"a": 0.6}, {"a": 0.6, "b": 0.8}),
    500: make_scored({"a": 0.7}, {"a": 0.7, "b": 0.5}),
}


def test_validation_chooses_and_a_source_s_own_timestep_is_tested_on_other_images() -> None:
    numbers = numbers_of(SCORED, 200, own={"a": own_of(50), "b": own_of(200, 0.3)})
    choice = numbers["choices"]["mean_lare"]
    assert choice["chosen"] == 50 and "hindsight" not in choice
    assert choice["gain"]["mean"] == pytest.approx((0.65 + 0.55 - 0.6 - 0.8) / 2)
    assert {s: (each["validation"], each["own"]) for s, each in choice["by_source"].items()} == {
        "a": (50, 50),
        "b": (None, 200),
    }
    text = finding(numbers)
    line_with(text, ", a: t = 50 is the best one too")
    line_with(text, ", b: t = 200 against t = 50", Verdict.BETTER, "+0.300")
    chosen = line_with(text, "- Mean LaRE:", "t = 50", "default t = 200", "−0.100")
    assert Verdict.WORSE in chosen and "hindsight" not in text
    assert headline(numbers).startswith("No timestep is best for all") and "t = 50 (mean LaRE)" in headline(numbers)
    _, by_reading, by_source, _ = tables(numbers)
    assert by_reading.rows[0][:2] == ("mean LaRE", 50)
    assert [row[:4] for row in by_source.rows] == [("mean LaRE", "a", 50, 50), ("mean LaRE", "b", None, 200)]


def test_where_no_source_loses_significantly_nothing_more_is_claimed() -> None:
    numbers = numbers_of(SCORED, 200, own={"a": own_of(50), "b": own_of(200, 0.0001)})
    assert headline(numbers).startswith("No image source is shown to need a timestep of its own")
    line_with(finding(numbers), ", b: t = 200", Verdict.SAME)


def test_few_seeds_leave_it_open() -> None:
    numbers = numbers_of(SCORED, 200, "map_only", own={"a": own_of(50), "b": own_of(200, 0.3, num_seeds=2)})
    assert "is not known" in headline(numbers)
    line_with(finding(numbers), ", b: t = 200", Verdict.FEW_SEEDS)


def test_what_was_chosen_and_tested_on_the_same_images_is_no_result() -> None:
    numbers = numbers_of(SCORED, 200)
    choice = numbers["choices"]["mean_lare"]
    for each in choice["by_source"].values():  # as earlier versions kept it
        del each["own"], each["aurocs"]
        each |= {"hindsight": 200, "lost": make_means(0.3).describe()}
    text = finding(numbers)
    assert "is not known" in headline(numbers) and not any(key[0] == "own" for key in compare(numbers))
    line_with(text, "was not tested")
    assert "+0.300" not in text and [row[3] for row in list(tables(numbers))[2].rows] == [None, None]


def test_a_default_that_is_chosen_is_not_compared_with_itself() -> None:
    scored = {100: make_scored({"a": 0.8}, {"a": 0.8, "b": 0.8}), 200: make_scored({"a": 0.7}, {"a": 0.7, "b": 0.7})}
    numbers = numbers_of(scored, 100, "full")
    chosen = line_with(finding(numbers), "- Detector, image + map: validation", "t = 100")
    assert not any(word in chosen + headline(numbers) for word in Verdict)


def test_chosen_timestep_without_a_significant_difference_from_the_default() -> None:
    scored = {
        100: make_scored({"a": 0.71}, {"a": 0.7}, half_width=0.05),
        200: make_scored({"a": 0.7}, {"a": 0.7}, half_width=0.04),
    }
    numbers = numbers_of(scored, 200, "full")
    assert judge(compare(numbers))["gain", "full"] is Verdict.SAME
    line_with(finding(numbers), "t = 100", "default t = 200", Verdict.SAME)


def test_what_is_lower_at_the_fewest_timesteps_comes_first() -> None:
    scored = {t: make_scored({"a": 0.5}, {"a": 0.5}) for t in (50, 200)}
    numbers = numbers_of(scored, 200, gaps=gaps_of({"good": [-1, -1], "bad": [1, 0], "mixed": [1, -1]}))
    sides = find_sides(numbers)
    assert list(sides.items()) == [
        ("bad", {1: ["50"], 0: ["200"]}),
        ("mixed", {1: ["50"], -1: ["200"]}),
        ("good", {-1: ["50", "200"]}),
    ]
    text = finding(numbers)
    assert text.startswith("At some timestep 2 of 3 ")
    assert text.index(" bad:") < text.index(" mixed:") < text.index(" good:")
    assert "t = 50" in line_with(text, " bad:", "t = 200") and "every t" in line_with(text, " good:")


def test_gap_without_interval_has_no_side() -> None:
    gaps = {t: {"one": gap(5) | {"interval": None, "se": None, "n": 1}} for t in ("50", "200")}
    scored = {t: make_scored({"a": 0.5}, {"a": 0.5}) for t in (50, 200)}
    numbers = numbers_of(scored, 200, gaps=gaps)
    assert find_sides(numbers) == {"one": {0: ["50", "200"]}}
    assert next(charts(numbers)).curves[0].low is None
    assert next(tables(numbers)).rows == (("one", 1, "0.500", "0.500"),)


def test_table_and_chart_hold_the_gaps() -> None:
    scored = {t: make_scored({"a": 0.5}, {"a": 0.5}) for t in (50, 200)}
    numbers = numbers_of(scored, 200, gaps=gaps_of({"a": [0, 1], "b": [-1, -1]}))
    table, chart = next(tables(numbers)), next(charts(numbers))
    assert table.columns == ("image source", "n", "t = 50", "t = 200")
    assert table.rows[1] == ("b", 7, "−0.100 (−0.150 to −0.050)", "−0.100 (−0.150 to −0.050)")
    assert ": a. Groups behind each interval: 90." in table.note
    assert chart.curves[0].x == (50, 200) and chart.curves[0].y == (0.0, 0.1) and chart.curves[0].low == (-0.05, 0.05)


def test_caches_of_different_images_are_not_compared() -> None:
    with pytest.raises(ValueError, match="features of different images"):
        subtract_means(make_scored({"a": 0.5}, {"a": 0.5}), make_scored({"a": 0.5}, {"a": 0.5}, keys="ac"))


def test_tables_and_charts_hold_the_scores() -> None:
    scored = {t: make_scored({"a": 0.5}, {"a": t / 1000, "b": 0.5}) for t in (100, 200)}
    numbers = numbers_of(scored, 200, "full")
    *_, table = tables(numbers)
    assert table.columns == ("t", "mean, validation", "mean, test", "a", "b") and table.rows[1][3].startswith("0.20")
    _, means, by_source = charts(numbers)
    assert [curve.name for curve in means.curves] == ["detector, image + map", "gradient energy"]
    assert means.curves[1].y == (0.4, 0.4) and by_source.curves[0].y == (0.1, 0.2)
    assert summarize({"x": scored[100]})["test"]["x"]["a"]["auroc"]["mean"] == 0.1


def test_answer_from_caches(study: Study) -> None:
    found = answer(study)
    numbers = json.loads(study.write(found).read_text())["numbers"]
    assert list(numbers["gaps"]) == ["50", "200"] and numbers["gaps"]["50"]["toy"]["n"] == 2
    for split in ("validation", "test"):
        assert set(numbers["readings"][split]) == {"mean LaRE, t = 50", "mean LaRE, t = 200", "gradient energy"}
        assert MEAN in numbers["readings"][split]["gradient energy"]
    (picture,) = found.pictures
    assert picture.title == "Test images and their maps at t = 50, 200"
    with Image.open(study.answers / picture.file) as image:
        assert image.width > image.height > 0
    assert TELLING.retell(found) == found
    assert found.charts[0].curves[0].x == (50, 200) and str(study.config.out) not in json.dumps(found.settings)


def test_missing_cache_is_named(study: Study, tmp_path: Path) -> None:
    (tmp_path / "caches" / "t50-e2" / "cache.json").unlink()
    with pytest.raises(Exception, match=r"there is no cache .*t50-e2. `python -m experiments caches`"):
        answer(study)
