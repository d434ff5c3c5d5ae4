"""Medians and ratios, by hand."""

import pytest

from bench.runner import rates, ratio, reading


def test_ratio_is_of_medians_and_its_range_of_neighbouring_runs():
    figure = ratio("r", [10.0, 30.0, 20.0], [5.0, 10.0, 4.0], "something", "≥ 2")
    assert figure.value == 20 / 5
    assert figure.runs == [2.0, 3.0, 5.0]
    assert (figure.low, figure.high) == (2.0, 5.0)
    assert (figure.unit, figure.against, figure.target) == ("×", "something", "≥ 2")


def test_ratio_of_sides_that_ran_unequally_often_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        ratio("r", [1.0, 2.0], [1.0])


def test_reading_is_the_median():
    figure = reading("m", [3.0, 1.0, 9.0, 5.0], "s")
    assert (figure.value, figure.low, figure.high) == (4.0, 1.0, 9.0)


def test_rates_are_amount_over_seconds():
    assert rates(12, [2.0, 3.0]) == [6.0, 4.0]
