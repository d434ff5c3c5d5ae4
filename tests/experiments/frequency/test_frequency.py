import json

import pytest

from experiments.frequency.equal_detail import Line, Matched
from experiments.frequency.frequency import answer, describe, sum_up, tabulate_correlations, tabulate_matched
from experiments.frequency.local_detail import MEASURES, Correlation
from experiments.study.comparisons import MEAN
from experiments.study.over_sources import Means
from experiments.study.study import Study
from tests.experiments.made_up import make_means

LINE = Line(0.5, 0.0, 0.8)


def matched(auroc: float | None) -> Matched:
    if auroc is None:
        return Matched(0, 9, False, {}, None, None)
    readings = dict.fromkeys(("mean_lare", "gradient_energy"), make_means(auroc))
    return Matched(8, 9, True, readings, auroc, (auroc - 0.1, auroc + 0.1))


def scores(mean: float, *sources: str) -> dict[str, dict[str, dict[str, Means]]]:
    by_source = {source: {"auroc": make_means(mean)} for source in (MEAN, *sources)}
    return dict.fromkeys(("mean_lare", "gradient_energy", "residual"), by_source)


def correlations(*means: float) -> dict[str, dict[str, Correlation]]:
    by_source = {f"s{i}": Correlation(mean, (mean - 0.1, mean + 0.1), 9) for i, mean in enumerate(means)}
    return dict.fromkeys(MEASURES, by_source)


@pytest.mark.parametrize(
    ("auroc", "begins"),
    [
        (0.4, "Between images of equal gradient energy the generated ones have the higher mean LaRE: a, AUROC 0.40"),
        (0.5, "Between images of equal gradient energy mean LaRE does not tell generated from real: a, AUROC 0.50"),
        (
            0.6,
            "Between images of equal gradient energy mean LaRE still is the lower one for generated images: a, AUROC",
        ),
        (None, "No real images of equal gradient energy were found: a."),
    ],
)
def test_finding_says_what_is_left_at_equal_detail(auroc: float | None, begins: str) -> None:
    text = describe(correlations(0.5), {"a": matched(auroc)}, LINE, make_means(0.0), scores(0.7, "a"))
    assert text.startswith(begins) and ("after 0.70 unmatched" in text) is (auroc is not None)


def test_what_fails_comes_first() -> None:
    found = {"good": matched(0.6), "none": matched(None), "bad": matched(0.4), "even": matched(0.5)}
    text = describe(correlations(0.5), found, LINE, make_means(0.0), scores(0.7, *found))
    assert sum_up(found) == (
        "At equal gradient energy the mean LaRE of generated images is higher for bad; not told apart for even; lower "
        "for good."
    )
    assert sum_up({"none": matched(None)}).endswith("is not known.")
    places = [text.index(f"{word}") for word in ("bad, AUROC", "even, AUROC", "good, AUROC", "found: none.")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("residual", "gain", "words"),
    [
        (0.4, -0.1, ("have the higher error for their detail", "worse than")),
        (0.5, 0.0, ("neither error is told", "not told apart from")),
        (0.6, 0.1, ("have the lower error for their detail", "better than")),
    ],
)
def test_finding_says_what_the_line_leaves(residual: float, gain: float, words: tuple[str, str]) -> None:
    text = describe(correlations(0.5), {"a": matched(0.5)}, LINE, make_means(gain), scores(residual, "a"))
    assert "explains 80 % of the variance" in text and all(word in text for word in words)


def test_finding_names_sources_without_a_correlation() -> None:
    found = {"a": matched(0.5)}
    text = describe(correlations(0.6, 0.05, 0.4), found, LINE, make_means(0.0), scores(0.5, "a"))
    assert "between 0.05 (−0.05 to 0.15) (s1) and 0.60 (0.50 to 0.70) (s0)" in text
    assert "not found to be positive for s1." in text
    assert "not found to be positive" not in describe(correlations(0.6), found, LINE, make_means(0.0), scores(0.5, "a"))
    nothing: dict[str, dict[str, Correlation]] = {name: {} for name in MEASURES}
    assert "No image has a rank correlation" in describe(nothing, found, LINE, make_means(0.0), scores(0.5, "a"))


def test_tables_leave_out_what_is_not_defined() -> None:
    assert tabulate_matched({"a": matched(None)}, scores(0.7, "a")).rows[0][:4] == ("a", 9, 0, "no")
    assert tabulate_matched({"a": matched(None)}, scores(0.7, "a")).rows[0][-3:] == (None, None, None)
    one, other = correlations(0.5, 0.4).values()
    table = tabulate_correlations({"gradient": one, "high_frequency": {"s1": other["s1"]}})
    assert [row[2:] for row in table.rows] == [("0.50 (0.40 to 0.60)", None), ("0.40 (0.30 to 0.50)",) * 2]


def test_answer_from_a_cache(study: Study) -> None:
    found = answer(study)
    numbers = json.loads(study.write(found).read_text())["numbers"]
    assert set(numbers["correlations"]["gradient"]) == {"real", "toy"}
    # The images are noise, and so are the maps: no correlation of four images' 64 cells is near 1.
    assert all(abs(each["mean"]) < 0.5 for each in numbers["correlations"]["gradient"].values())
    assert numbers["matched"]["toy"]["num_generated"] == 2
    assert [curve.name for curve in found.charts[0].curves] == ["real", "toy"]
    assert set(numbers["readings"]["test"]) == {"mean_lare", "gradient_energy", "residual"}
