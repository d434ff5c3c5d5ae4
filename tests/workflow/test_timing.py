"""Turns and seconds, by hand."""

from collections.abc import Callable

import pytest

from workflow.timing import alternate, timed


def test_timed_runs_the_work_once_and_gives_seconds():
    calls = []
    assert timed(lambda: calls.append(1))() >= 0
    assert calls == [1]


def test_the_device_is_waited_for_before_and_while_the_clock_runs():
    done: list[str] = []
    times = iter((2.0, 5.0))

    def clock() -> float:
        done.append("clock")
        return next(times)

    seconds = timed(lambda: done.append("work"), wait=lambda: done.append("wait"), clock=clock)()
    assert seconds == 3.0 and done == ["wait", "clock", "work", "wait", "clock"]


@pytest.mark.parametrize("warm_up", [False, True])
def test_every_second_turn_goes_backwards_and_the_warm_up_is_left_out(warm_up: bool):
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
