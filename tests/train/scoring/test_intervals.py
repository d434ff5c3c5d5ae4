"""Intervals by groups: by hand, at their limits, and what they rest on. Their coverage: test_coverage.py."""

import numpy as np
import pytest
from scipy import stats

from train.scoring import intervals
from train.scoring.intervals import (
    Estimate,
    bounded_interval,
    count_groups,
    describe_few_groups,
    difference_interval,
    leave_out_weights,
    mean_interval,
    share_difference_interval,
    share_interval,
    standard_error,
    t_interval,
)


def _stack_weights(groups: np.ndarray, **how: int) -> np.ndarray:
    return np.concatenate(list(leave_out_weights(groups, **how)))


def test_each_group_is_left_out_once() -> None:
    weights = _stack_weights(np.array(["b", "a", "b", "c"]))
    assert weights.tolist() == [[1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]]


def test_many_groups_are_left_out_in_blocks_that_hold_each_once() -> None:
    groups = np.repeat(np.arange(25), 3)
    weights = _stack_weights(groups, max_blocks=10)
    assert weights.shape == (10, 75)
    left_out = [set(groups[row == 0].tolist()) for row in weights]
    assert sorted(group for block in left_out for group in block) == list(range(25))
    assert {len(block) for block in left_out} == {2, 3}
    assert left_out[0] != {0, 10, 20}  # shuffled: neighbours in a list are often alike


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.arange(60) // 2
    whole = _stack_weights(groups, max_blocks=20)
    monkeypatch.setattr(intervals, "_CHUNK_ELEMENTS", 200)
    assert len(list(leave_out_weights(groups, max_blocks=20))) == 7
    np.testing.assert_array_equal(_stack_weights(groups, max_blocks=20), whole)


def test_mean_of_groups_of_one_has_the_textbook_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 12)
    found = mean_interval(values, np.arange(12))
    expected = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert found.interval == pytest.approx(expected)
    assert (found.value, found.n_groups) == (pytest.approx(values.mean()), 12)
    assert found.describe() == {"value": found.value, "interval": list(found.interval or ()), "n_groups": 12}


def test_copies_within_groups_add_nothing() -> None:
    values = np.random.default_rng(1).normal(size=40)
    one = mean_interval(values, np.arange(40))
    four = mean_interval(np.repeat(values, 4), np.repeat(np.arange(40), 4))
    assert four.interval == pytest.approx(one.interval)
    independent = mean_interval(np.random.default_rng(2).normal(size=160), np.repeat(np.arange(40), 4))
    assert independent.interval is not None and four.interval is not None
    assert np.ptp(independent.interval) < 0.7 * np.ptp(four.interval)


def test_blocks_give_about_the_standard_error_of_single_groups() -> None:
    values = np.random.default_rng(3).normal(size=3000)
    found = mean_interval(values, np.arange(3000))
    assert found.interval is not None
    assert np.ptp(found.interval) == pytest.approx(2 * 1.96 * stats.sem(values), rel=0.1)
    assert found.n_groups == 3000


def test_bounded_interval_by_hand() -> None:
    half = stats.t.ppf(0.975, 13) * 0.02
    shrunk = (0.9 * 14 + 0.5) / 15
    logits = [np.log(centre / (1 - centre)) for centre in (0.9, shrunk)]
    widths = [half / (centre * (1 - centre)) for centre in (0.9, shrunk)]
    low = min(1 / (1 + np.exp(-(at - width))) for at, width in zip(logits, widths, strict=True))
    high = max(1 / (1 + np.exp(-(at + width))) for at, width in zip(logits, widths, strict=True))
    assert bounded_interval(0.9, 0.02, 14) == pytest.approx((low, high))
    mirrored = bounded_interval(0.1, 0.02, 14)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("n_groups", [2, 6, 14, 200])
def test_without_spread_the_interval_says_what_unseen_groups_may_hold(n_groups: int) -> None:
    p = 0.025 ** (1 / n_groups)
    assert bounded_interval(1.0, 0.0, n_groups) == pytest.approx((p, 1.0))
    assert bounded_interval(0.0, 0.0, n_groups) == pytest.approx((0.0, 1 - p))
    assert bounded_interval(0.5, 0.0, n_groups) == pytest.approx((0.5 * p, 1 - 0.5 * p))
    assert difference_interval(0.0, 0.0, n_groups) == pytest.approx((p - 1, 1 - p))
    assert difference_interval(1.0, 0.0, n_groups) == pytest.approx((2 * p - 1, 1.0))


def test_a_share_of_all_or_none_is_the_exact_binomial_interval() -> None:
    found = share_interval(np.ones(14, dtype=bool), np.arange(14))
    exact = stats.binomtest(14, 14).proportion_ci(0.95, "exact")
    assert found == Estimate(1.0, pytest.approx((exact.low, exact.high)), 14)
    nothing = share_interval(np.zeros(28, dtype=bool), np.repeat(np.arange(14), 2))  # two of a scene count as one
    assert nothing.interval == pytest.approx((0.0, 1 - exact.low))


@pytest.mark.parametrize(("n_groups", "degrees"), [(30, None), (14, None), (30, 4)])
def test_difference_interval_is_a_t_interval_that_reaches_further_away_from_zero(
    n_groups: int, degrees: int | None
) -> None:
    plain = t_interval(0.03, 0.01, degrees or n_groups - 1)
    far = (0.03 * n_groups + 0.5) / (n_groups + 0.5) - 0.03
    assert plain is not None
    expected = plain[0], plain[1] + far
    assert difference_interval(0.03, 0.01, n_groups, degrees) == pytest.approx(expected)
    assert difference_interval(-0.03, 0.01, n_groups, degrees) == pytest.approx((-expected[1], -expected[0]))
    assert difference_interval(0.5, 0.3, 2) == (-1.0, 1.0)


def test_one_group_or_none_has_no_interval() -> None:
    assert bounded_interval(0.9, np.nan, 1) is None
    assert difference_interval(0.1, np.nan, 1) is None
    assert difference_interval(0.1, 0.1, 1, degrees=4) is None
    assert mean_interval(np.array([1.0, 2.0]), np.array([0, 0])) == Estimate(1.5, None, 1)
    assert share_interval(np.array([True]), np.array([0])) == Estimate(1.0, None, 1)
    empty = mean_interval(np.array([]), np.array([]))
    assert np.isnan(empty.value) and empty.interval is None and empty.n_groups == 0


def test_a_figure_that_needs_a_group_has_no_standard_error() -> None:
    assert np.isnan(standard_error(np.array([0.9, np.nan, 0.8])))
    assert bounded_interval(0.9, np.nan, 3) is None


def test_the_class_with_fewer_groups_counts() -> None:
    groups, labels = np.array(["a", "a", "b", "c", "a"]), np.array([0, 1, 1, 1, 0])
    assert count_groups(groups) == 3
    assert count_groups(groups, labels) == 1


def test_few_groups_are_told() -> None:
    assert describe_few_groups(30) is None
    assert "14, fewer than 30" in (describe_few_groups(14) or "")
    assert "no interval" in (describe_few_groups(1) or "")


def test_a_difference_of_shares_is_paired_and_never_without_width() -> None:
    differences = np.array([1.0, 0.0, 0.0, -0.5] * 10)
    found = share_difference_interval(differences, np.repeat(np.arange(20), 2))
    assert found.value == pytest.approx(0.125) and found.n_groups == 20
    assert found.interval[0] < 0.125 < found.interval[1]
    plain = mean_interval(differences, np.repeat(np.arange(20), 2))
    assert found.interval[0] == pytest.approx(plain.interval[0])  # the end that decides is the plain one
    assert found.interval[1] > plain.interval[1]
    low, high = share_difference_interval(np.zeros(30), np.arange(30)).interval
    assert low == -high and 0.05 < high < 0.2  # a change may hide in groups that were not drawn
    assert share_difference_interval(np.ones(4), np.zeros(4)).interval is None
