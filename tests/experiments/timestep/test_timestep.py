import json
from pathlib import Path

import pytest
from PIL import Image

from experiments.study.comparisons import MEAN
from experiments.study.settings import make_curve, subtract_means, summarize
from experiments.study.study import Study
from experiments.timestep.gaps import Gap
from experiments.timestep.timestep import (
    answer,
    choose,
    describe,
    draw,
    sum_up,
    tabulate_aurocs,
    tabulate_by_source,
    tabulate_choices,
)
from tests.experiments.made_up import make_means, make_scored

ENERGY = make_scored({"a": 0.4}, {"a": 0.4, "b": 0.4})


def test_validation_chooses_and_hindsight_is_named() -> None:
    scored = {
        50: make_scored({"a": 0.7}, {"a": 0.65, "b": 0.5}),
        200: make_scored({"a": 0.6}, {"a": 0.6, "b": 0.8}),
        500: make_scored({"a": 0.7}, {"a": 0.7, "b": 0.5}),
    }
    choice = choose(scored, default=200)
    assert (choice.chosen, choice.hindsight) == (50, 200)
    assert choice.gain.mean == pytest.approx((0.65 + 0.5 - 0.6 - 0.8) / 2)
    found = {s: (c.validation, c.hindsight, round(c.lost.mean, 3)) for s, c in choice.by_source.items()}
    assert found == {"a": (50, 500, 0.05), "b": (None, 200, 0.3)}
    text = describe({"mean_lare": choice}, {"mean_lare": scored}, ENERGY, 200)
    assert text.startswith(
        "One timestep for all image sources was not found for mean LaRE: at t = 50, chosen on validation, AUROC is "
        "lost for a, +0.050"
    )
    assert "b, +0.300" in text and "against t = 200" in text
    assert "Mean LaRE: validation chooses t = 50, worse than the default t = 200, −0.125" in text
    assert "in hindsight t = 200 has 0.70" in text and text.endswith(
        "no timestep: test AUROC 0.40 (0.39 to 0.41) ±0.000."
    )
    gaps = {t: {"a": Gap(-0.1, (-0.2, -0.05), 7, True), "b": Gap(0.1, (-0.2, 0.3), 7, True)} for t in scored}
    assert sum_up(gaps, {"mean_lare": choice}, 200) == (
        "Generated images have the lower mean LaRE at some timestep for 1 of 2 image sources. What validation chooses "
        "against t = 200: worse: mean LaRE (t = 50)."
    )
    row = tabulate_choices({"mean_lare": choice}, {"mean_lare": scored}, 200).rows[0]
    assert row[:2] == ("mean LaRE", 50) and row[5] == 200 and row[6].startswith("0.70")
    rows = tabulate_by_source({"mean_lare": choice}, {"mean_lare": scored}).rows
    assert [row[:4] for row in rows] == [("mean LaRE", "a", 50, 500), ("mean LaRE", "b", None, 200)]


def test_best_timestep_for_all_sources_is_said() -> None:
    scored = {100: make_scored({"a": 0.8}, {"a": 0.8, "b": 0.8}), 200: make_scored({"a": 0.7}, {"a": 0.7, "b": 0.7})}
    better, default = choose(scored, default=200), choose(scored, default=100)
    text = describe({"map_only": better}, {"map_only": scored}, ENERGY, 200)
    assert text.startswith("No image source is told to have a better timestep than the chosen one: detector, map only.")
    assert "validation chooses t = 100, better than the default t = 200, +0.100" in text
    assert "the best in hindsight too" in text
    level = {100: make_scored({"a": 0.6}, {"a": 0.9}), 200: make_scored({"a": 0.7}, {"a": 0.9})}
    assert choose(level, default=200).hindsight == choose(level, default=200).by_source["a"].hindsight == 200
    assert "validation chooses t = 100, the default; test" in describe({"full": default}, {"full": scored}, ENERGY, 100)


def test_chosen_timestep_that_is_not_told_apart_from_the_default() -> None:
    scored = {
        100: make_scored({"a": 0.71}, {"a": 0.7}, half_width=0.05),
        200: make_scored({"a": 0.7}, {"a": 0.7}, half_width=0.04),
    }
    text = describe({"full": choose(scored, 200)}, {"full": scored}, ENERGY, 200)
    assert "chooses t = 100, not told apart from the default t = 200" in text


def test_caches_of_different_images_are_not_compared() -> None:
    with pytest.raises(ValueError, match="features of different images"):
        subtract_means(make_scored({"a": 0.5}, {"a": 0.5}), make_scored({"a": 0.5}, {"a": 0.5}, keys="ac"))


def test_tables_and_charts_hold_the_scores() -> None:
    scored = {t: make_scored({"a": 0.5}, {"a": t / 1000, "b": 0.5}) for t in (100, 200)}
    table = tabulate_aurocs("full", scored)
    assert table.columns == ("t", "mean, validation", "mean, test", "a", "b") and table.rows[1][3].startswith("0.20")
    means, by_source = draw({"full": scored}, ENERGY)
    assert [curve.name for curve in means.curves] == ["detector, image + map", "gradient energy"]
    assert means.curves[1].y == (0.4, 0.4) and by_source.curves[0].y == (0.1, 0.2)
    assert make_curve("one", [1], [make_means(0.5, float("nan"))]).low is None
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
    assert found.charts[0].curves[0].x == (50, 200) and str(study.config.out) not in json.dumps(found.settings)


def test_missing_cache_is_named(study: Study, tmp_path: Path) -> None:
    (tmp_path / "caches" / "t50-e2" / "cache.json").unlink()
    with pytest.raises(Exception, match=r"there is no cache .*t50-e2. `python -m experiments caches`"):
        answer(study)
