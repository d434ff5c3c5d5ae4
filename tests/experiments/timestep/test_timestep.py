import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.answers.readings import MEAN, TITLES
from experiments.answers.verdicts import WORDS, judge
from experiments.study.settings import Scored, subtract_means, summarize
from experiments.study.study import Study
from experiments.timestep.telling import (
    TELLING,
    charts,
    find_losers,
    find_sides,
    finding,
    headline,
    name_setting,
    tables,
)
from experiments.timestep.timestep import answer, choose
from tests.experiments.made_up import as_json, line_with, make_scored

ENERGY = make_scored({"a": 0.4}, {"a": 0.4, "b": 0.4})


def gap(sign: int, *, half_width: float = 0.05, is_paired: bool = False) -> dict[str, Any]:
    """A gap of 0.1 to one side, or of none."""
    ends = (0.1 * sign - half_width, 0.1 * sign + half_width)
    return {"relative": 0.1 * sign, "interval": ends, "n": 7, "is_paired": is_paired}


def gaps_of(signs: dict[str, list[int]], timesteps: tuple[int, ...] = (50, 200)) -> dict[str, Any]:
    """Image source → sign of the gap at each timestep; paired where the first is 0."""
    return as_json(
        {
            t: {source: gap(each[i], is_paired=each[0] == 0) for source, each in signs.items()}
            for i, t in enumerate(timesteps)
        }
    )


def numbers_of(scored: dict[int, Scored], default: int, reading: str = "mean_lare", **gaps: Any) -> dict[str, Any]:
    """One reading at some timesteps."""
    named = {name_setting(reading, t): each for t, each in scored.items()}
    signs = {source: [-1] * len(scored) for source in scored[default].test if source != MEAN}
    found = {
        "default": default,
        "gaps": gaps_of(signs, tuple(scored)),
        "choices": {reading: choose(scored, default)},
        "readings": summarize({**named, TITLES["gradient_energy"]: ENERGY}),
    }
    return as_json(found | gaps)


def test_validation_chooses_and_hindsight_is_named() -> None:
    scored = {
        50: make_scored({"a": 0.7}, {"a": 0.65, "b": 0.5}),
        200: make_scored({"a": 0.6}, {"a": 0.6, "b": 0.8}),
        500: make_scored({"a": 0.7}, {"a": 0.7, "b": 0.5}),
    }
    choice = choose(scored, default=200)
    assert (choice["chosen"], choice["hindsight"]) == (50, 200)
    assert choice["gain"]["mean"] == pytest.approx((0.65 + 0.5 - 0.6 - 0.8) / 2)
    found = {s: (c["validation"], c["hindsight"], round(c["lost"]["mean"], 3)) for s, c in choice["by_source"].items()}
    assert found == {"a": (50, 500, 0.05), "b": (None, 200, 0.3)}
    assert find_losers(choice) == ["a", "b"]
    numbers = numbers_of(scored, 200, gaps=gaps_of({"a": [-1, -1, -1], "b": [0, 0, 0]}, (50, 200, 500)))
    text = finding(numbers)
    assert WORDS[1] in line_with(text, ", a:", "t = 500", "t = 50,", "+0.050")
    assert WORDS[1] in line_with(text, ", b:", "t = 200", "+0.300")
    chosen = line_with(text, "- Mean LaRE:")
    assert judge(choice["gain"]) == -1 and WORDS[-1] in chosen and "−0.125" in chosen
    assert "t = 50" in chosen and "default t = 200" in chosen and "t = 200 has 0.70" in chosen
    assert text.endswith("0.40 (0.39 to 0.41) ±0.000.")
    assert "1 of 2 image sources" in text.splitlines()[0]
    assert "t = 50 (mean LaRE)" in headline(numbers)
    _, by_reading, by_source, _ = tables(numbers)
    row = by_reading.rows[0]
    assert row[:2] == ("mean LaRE", 50) and row[5] == 200 and row[6].startswith("0.70")
    assert [row[:4] for row in by_source.rows] == [("mean LaRE", "a", 50, 500), ("mean LaRE", "b", None, 200)]


def test_best_timestep_for_all_sources_is_said() -> None:
    scored = {100: make_scored({"a": 0.8}, {"a": 0.8, "b": 0.8}), 200: make_scored({"a": 0.7}, {"a": 0.7, "b": 0.7})}
    numbers = numbers_of(scored, 200, "map_only")
    text = finding(numbers)
    assert not any(find_losers(each) for each in numbers["choices"].values())
    chosen = line_with(text, "- Detector, map only:", "t = 100", "default t = 200")
    assert WORDS[1] in chosen and "+0.100" in chosen and "In hindsight" not in chosen
    level = {100: make_scored({"a": 0.6}, {"a": 0.9}), 200: make_scored({"a": 0.7}, {"a": 0.9})}
    assert choose(level, default=200)["hindsight"] == choose(level, default=200)["by_source"]["a"]["hindsight"] == 200


def test_a_default_that_is_chosen_is_not_compared_with_itself() -> None:
    scored = {100: make_scored({"a": 0.8}, {"a": 0.8, "b": 0.8}), 200: make_scored({"a": 0.7}, {"a": 0.7, "b": 0.7})}
    numbers = numbers_of(scored, 100, "full")
    chosen = line_with(finding(numbers), "- Detector, image + map:", "t = 100")
    assert not any(word in chosen + headline(numbers) for word in WORDS.values())


def test_chosen_timestep_without_a_significant_difference_from_the_default() -> None:
    scored = {
        100: make_scored({"a": 0.71}, {"a": 0.7}, half_width=0.05),
        200: make_scored({"a": 0.7}, {"a": 0.7}, half_width=0.04),
    }
    numbers = numbers_of(scored, 200, "full")
    assert judge(numbers["choices"]["full"]["gain"]) == 0
    assert WORDS[0] in line_with(finding(numbers), "t = 100", "default t = 200")


def test_what_is_lower_at_the_fewest_timesteps_comes_first() -> None:
    sides = find_sides(gaps_of({"good": [-1, -1], "bad": [1, 0], "mixed": [1, -1]}))
    assert list(sides.items()) == [
        ("bad", {1: ["50"], 0: ["200"]}),
        ("mixed", {1: ["50"], -1: ["200"]}),
        ("good", {-1: ["50", "200"]}),
    ]
    scored = {t: make_scored({"a": 0.5}, {"a": 0.5}) for t in (50, 200)}
    text = finding(numbers_of(scored, 200, gaps=gaps_of({"good": [-1, -1], "bad": [1, 0], "mixed": [1, -1]})))
    assert text.startswith("At some timestep 2 of 3 ")
    assert text.index(" bad:") < text.index(" mixed:") < text.index(" good:")
    assert "t = 50" in line_with(text, " bad:", "t = 200") and "every t" in line_with(text, " good:")


def test_gap_without_interval_has_no_side() -> None:
    gaps = {t: {"one": gap(5) | {"interval": None, "n": 1}} for t in ("50", "200")}
    assert find_sides(gaps) == {"one": {0: ["50", "200"]}}
    scored = {t: make_scored({"a": 0.5}, {"a": 0.5}) for t in (50, 200)}
    numbers = numbers_of(scored, 200, gaps=gaps)
    assert next(charts(numbers)).curves[0].low is None
    assert next(tables(numbers)).rows == (("one", 1, "0.500", "0.500"),)


def test_table_and_chart_hold_the_gaps() -> None:
    scored = {t: make_scored({"a": 0.5}, {"a": 0.5}) for t in (50, 200)}
    numbers = numbers_of(scored, 200, gaps=gaps_of({"a": [0, 1], "b": [-1, -1]}))
    table, chart = next(tables(numbers)), next(charts(numbers))
    assert table.columns == ("image source", "n", "t = 50", "t = 200")
    assert table.rows[1] == ("b", 7, "−0.100 (−0.150 to −0.050)", "−0.100 (−0.150 to −0.050)")
    assert table.note.endswith(": a.")
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
