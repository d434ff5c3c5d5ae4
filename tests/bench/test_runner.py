"""Medians, ratios and turns, by hand."""

from collections.abc import Callable

import pytest

from bench.runner import alternate, rates, ratio, reading, timed


def test_ratio_is_of_medians_and_its_range_of_neighbouring_runs():
    figure = ratio("r", [10.0, 30.0, 20.0], [5.0, 10.0, 4.0], "something", "≥ 2")
    assert figure.value == 20 / 5
    assert figure.runs == [2.0, 3.0, 5.0]
    assert (figure.low, figure.high) == (2.0, 5.0)
    assert (figure.unit, figure.against, figure.hope) == ("×", "something", "≥ 2")


def test_ratio_of_sides_that_ran_unequally_often_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        ratio("r", [1.0, 2.0], [1.0])


def test_reading_is_the_median():
    figure = reading("m", [3.0, 1.0, 9.0, 5.0], "s")
    assert (figure.value, figure.low, figure.high) == (4.0, 1.0, 9.0)


def test_rates_are_amount_over_seconds():
    assert rates(12, [2.0, 3.0]) == [6.0, 4.0]


def test_timed_runs_the_work_once_and_gives_seconds():
    calls = []
    assert timed(lambda: calls.append(1))() >= 0
    assert calls == [1]


@pytest.mark.parametrize("warm_up", [False, True])
def test_alternate_turns_round_every_second_time_and_leaves_out_the_warm_up(warm_up: bool):
    order: list[str] = []

    def side(name: str) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return float(len(order))

        return run

    readings = alternate({"a": side("a"), "b": side("b")}, 3, warm_up=warm_up)
    first = 2 if warm_up else 0
    assert "".join(order) == "ab" * warm_up + "abbaab"
    assert readings == {
        "a": [first + 1.0, first + 4.0, first + 5.0],
        "b": [first + 2.0, first + 3.0, first + 6.0],
    }
