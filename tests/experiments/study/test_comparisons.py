import numpy as np
import pyarrow as pa
import pytest

from experiments.study.comparisons import (
    MEAN,
    describe_difference,
    describe_value,
    describe_verdicts,
    judge,
    score_sources,
    subtract,
    sum_up_verdicts,
    summarize,
)
from experiments.study.over_sources import Means
from train.scoring.calibration import Calibration
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading


def means(mean: float, low: float, high: float, sd: float | None = None) -> Means:
    """A metric with an interval, of one seed, or of two with a standard deviation."""
    seeds = np.array([mean]) if sd is None else mean + np.array([-1, 1]) * sd / 2**0.5
    return Means(seeds, np.linspace(low, high, 41))


def make_reading(scores: list[list[float]]) -> Reading:
    """Two reals each of the subsets a and b, a generated image of `gan` in a and two of `sd` in b."""
    rows = [("real", 0, "a"), ("real", 0, "a"), ("real", 0, "b"), ("real", 0, "b")]
    rows += [("gan", 1, "a"), ("sd", 1, "b"), ("sd", 1, "b")]
    sources, labels, subsets = zip(*rows, strict=True)
    keys = [f"k{i}" for i in range(len(rows))]
    values = {"image_source": sources, "label": pa.array(labels, pa.int8()), "subset": subsets, "key": keys}
    values |= {"group": keys, "split": ["test"] * len(rows), "derived_from": pa.nulls(len(rows), pa.string())}
    return Reading(
        pa.table({name: values[name] for name in COLUMNS}), np.array(scores), (Calibration(0.5),) * len(scores), True
    )


GOOD = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8]
"""Both sources are found without a mistake."""
POOR = [0.1, 0.9, 0.3, 0.75, 0.6, 0.7, 0.8]
"""gan is above one of its two reals; of sd's four pairs one is the wrong way round."""


def test_each_source_meets_its_own_reals_and_the_mean_is_theirs() -> None:
    scores = score_sources(make_reading([POOR, GOOD]))
    assert list(scores) == [MEAN, "gan", "sd"]
    assert scores["gan"]["auroc"].seeds.tolist() == [0.5, 1.0]
    assert scores["sd"]["auroc"].seeds.tolist() == [0.75, 1.0]
    assert scores[MEAN]["auroc"].seeds.tolist() == [0.625, 1.0]
    assert summarize(scores)["gan"]["auroc"]["sd"] == pytest.approx(0.5 / 2**0.5)


def test_differences_are_paired_by_seed() -> None:
    one, other = (score_sources(make_reading(rows)) for rows in ([GOOD, POOR], [POOR, POOR]))
    difference = subtract(one, other)
    assert difference["sd"].seeds.tolist() == [0.25, 0]
    assert difference[MEAN].mean == pytest.approx(0.375 / 2)
    assert subtract(one, one)[MEAN].interval == (0, 0)
    assert difference[MEAN].interval != (0, 0)


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (means(0.02, 0.01, 0.03), 1),
        (means(-0.02, -0.03, -0.01, sd=0.01), -1),
        (means(0.02, -0.001, 0.03), 0),
        (means(0.02, 0.01, 0.03, sd=0.021), 0),  # the seeds are further apart than it is large
        (Means(np.array([0.02]), np.full(3, np.nan)), 0),
    ],
)
def test_what_is_better_is_so_throughout_the_interval_and_beyond_the_seeds(difference: Means, verdict: int) -> None:
    assert judge(difference) == verdict


def test_values_and_differences_tell_interval_and_spread() -> None:
    assert describe_value(means(0.84, 0.795, 0.875)) == "0.84 (0.80 to 0.87)"
    assert describe_value(means(0.84, 0.795, 0.875, sd=0.01)).endswith(" ±0.010")
    assert describe_difference(means(-0.02, -0.02, -0.02)) == "−0.020 (−0.020 to −0.020)"
    assert describe_difference(Means(np.array([0.1, 0.1]), np.array([np.nan]))) == (
        "+0.100 (no interval; sd over seeds 0.000)"
    )


def test_what_is_worse_is_told_first_and_what_there_is_none_of_not_at_all() -> None:
    better, same, worse = (("a", "b", means(mean, mean, mean)) for mean in (0.1, 0.0, -0.1))
    text = describe_verdicts([better, worse, same])
    assert text == (
        "Worse: a than b, −0.100 (−0.100 to −0.100). Not told apart: a and b, +0.000 (+0.000 to +0.000). "
        "Better: a than b, +0.100 (+0.100 to +0.100)."
    )
    named = [("x", better[2]), ("y", same[2]), ("z", worse[2]), ("w", same[2])]
    assert sum_up_verdicts(named) == "worse: z; not told apart: y, w; better: x" and sum_up_verdicts([]) == ""
    assert describe_verdicts([better, better]).startswith("Better: a than b") and describe_verdicts([]) == ""
