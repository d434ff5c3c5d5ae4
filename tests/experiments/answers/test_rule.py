import math

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from experiments.answers.rule import (
    LEVEL,
    MIN_SEEDS,
    Comparison,
    Value,
    Verdict,
    count_seeds,
    judge,
    judge_one,
    negate,
    p_equal,
    p_value,
    place_at_chance,
    spread,
    whole_interval,
)


def value(mean: float, se: float | None = 0.01, sd: float | None = 0.01, num_seeds: int = 5, groups: int = 50) -> Value:
    ends = None if se is None else (mean - 2 * se, mean + 2 * se)
    return {"mean": mean, "interval": ends, "sd": sd, "num_seeds": num_seeds, "n_groups": groups, "se": se}


def test_variances_of_images_and_seeds_are_added() -> None:
    error, degrees = spread(value(0.1, se=0.03, sd=0.04, num_seeds=4, groups=10))  # type: ignore[misc]
    images, seeds = 0.03**2, 0.04**2 / 4
    assert error == pytest.approx(math.sqrt(images + seeds))
    assert degrees == pytest.approx((images + seeds) ** 2 / (images**2 / 9 + seeds**2 / 3))
    assert spread(value(0.1, se=0.03, sd=None, num_seeds=0, groups=10)) == (pytest.approx(0.03), pytest.approx(9))


def test_seeds_alone_are_the_t_test_and_images_alone_are_student_s_t() -> None:
    seeds = np.array([0.01, 0.03, 0.02, 0.05, -0.01])
    alone = value(float(seeds.mean()), se=0.0, sd=float(seeds.std(ddof=1)))
    assert p_value(alone) == pytest.approx(ttest_1samp(seeds, 0).pvalue)
    images = value(0.02, se=0.01, sd=None, num_seeds=0, groups=20)
    assert p_value(images) == pytest.approx(2 * t.sf(2, 19))
    low, high = whole_interval(images)  # type: ignore[misc]
    assert (high - low) / 2 == pytest.approx(0.01 * t.ppf(0.975, 19)) and p_value(images, low) == pytest.approx(0.05)


@pytest.mark.parametrize("num_seeds", range(1, MIN_SEEDS))
def test_few_seeds_give_no_verdict_however_large_the_difference(num_seeds: int) -> None:
    few = value(0.4, se=1e-3, sd=1e-3 if num_seeds > 1 else None, num_seeds=num_seeds)
    assert p_value(few) is None and p_equal(few, 0.5) is None and judge_one(few) is Verdict.FEW_SEEDS
    assert judge({"x": Comparison(few, margin=0.5)}) == {"x": Verdict.FEW_SEEDS}


def test_five_seeds_and_no_seeds_give_one() -> None:
    assert judge_one(value(0.4)) is Verdict.BETTER and judge_one(value(-0.4)) is Verdict.WORSE
    assert judge_one(value(0.4, sd=None, num_seeds=0)) is Verdict.BETTER
    assert judge_one(value(0.01)) is Verdict.SAME and judge_one(value(0.4, sd=1.0)) is Verdict.SAME


def test_what_has_no_variance_has_no_verdict() -> None:
    assert judge_one(value(0.4, se=None)) is Verdict.NOT_KNOWN
    assert judge_one(value(0.4, groups=1)) is Verdict.NOT_KNOWN


def test_where_nothing_moves_half_a_group_may() -> None:
    perfect = value(1.0, se=0.0, sd=0.0)
    assert spread(perfect) == (0.5 / 50, 49)
    assert judge_one(perfect, 0.5) is Verdict.BETTER and judge_one({**perfect, "n_groups": 2}, 0.5) is Verdict.SAME
    assert judge_one({**perfect, "n_groups": None}, 0.5) is Verdict.NOT_KNOWN
    assert judge_one(value(0.0, se=0.0, sd=0.0)) is Verdict.SAME


def test_older_values_have_the_variance_of_their_interval() -> None:
    older = {"mean": 0.1, "interval": [0.08, 0.13], "sd": None}
    assert count_seeds(older) == 0 and count_seeds({**older, "sd": 0.1}) == 1
    error, degrees = spread(older)  # type: ignore[misc]
    assert error == pytest.approx(0.03 / 1.959964, rel=1e-5) and degrees == math.inf
    assert whole_interval(older) == (pytest.approx(0.07), pytest.approx(0.13))
    assert judge_one({**older, "sd": 1e-3}) is Verdict.FEW_SEEDS


def test_a_difference_that_is_one_of_many_must_be_larger() -> None:
    one = value(0.023, sd=None, num_seeds=0)
    assert p_value(one) == pytest.approx(0.0258, abs=1e-3) and judge_one(one) is Verdict.BETTER
    many = {0: Comparison(one)} | {i: Comparison(value(0.0, sd=None, num_seeds=0)) for i in range(1, 4)}
    assert judge(many)[0] is Verdict.SAME
    few = {0: Comparison(one)} | {i: Comparison(value(0.0, num_seeds=2)) for i in range(1, 4)}
    assert judge(few)[0] is Verdict.BETTER  # what cannot be tested is no comparison


def test_equally_good_is_shown_against_a_margin_and_not_by_a_test_that_finds_nothing() -> None:
    assert judge({0: Comparison(value(0.0, se=0.03), margin=0.01)})[0] is Verdict.SAME
    narrow = value(0.001, se=0.001, sd=0.001)
    assert judge({0: Comparison(narrow, margin=0.01)})[0] is Verdict.EQUAL
    assert judge({0: Comparison(narrow)})[0] is Verdict.SAME
    # Significant and within the margin: it is told as what it is.
    assert judge({0: Comparison(value(-0.004, se=0.0005, sd=0.0005), margin=0.01)})[0] is Verdict.WORSE
    assert p_equal(value(0.01, se=0.005), 0.01) == pytest.approx(0.5) and p_equal(value(0.03), 0.01) > 0.5  # type: ignore[operator]


def test_nothing_is_better_where_neither_is_above_chance() -> None:
    gain = value(0.1)
    for higher, verdict in ((0.3, Verdict.INVERTED), (0.51, Verdict.CHANCE), (0.7, Verdict.BETTER)):
        pair = value(higher), value(higher - 0.1)
        assert judge({0: Comparison(gain, aurocs=pair)})[0] is verdict
        assert judge({0: Comparison(negate(gain), aurocs=pair[::-1])})[0] is (
            Verdict.WORSE if verdict is Verdict.BETTER else verdict
        )


def test_aurocs_are_placed_at_chance_together() -> None:
    found = place_at_chance({"up": value(0.7), "down": value(0.2), "at": value(0.51), "few": value(0.9, num_seeds=2)})
    assert found == {
        "up": Verdict.BETTER,
        "down": Verdict.WORSE,
        "at": Verdict.SAME,
        "few": Verdict.FEW_SEEDS,
    }


def test_negation_turns_the_interval_round() -> None:
    assert negate({"mean": 0.1, "interval": [0.0, 0.3], "sd": 0.1})["interval"] == [-0.3, -0.0]
    assert LEVEL == 0.05
