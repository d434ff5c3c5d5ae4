"""Several tests at once."""

from train.scoring.holm import holm


def test_holm_takes_the_smallest_first_and_stops_at_the_first_that_fails() -> None:
    assert holm({"a": 0.01, "b": 0.02, "c": 0.03}) == {"a", "b", "c"}
    assert holm({"a": 0.012, "b": 0.026, "c": 0.03}) == {"a"}
    assert holm({"a": 0.02, "b": 0.001, "c": 0.9}) == {"a", "b"}
    assert holm({"a": 0.02, "b": 0.02, "c": 0.02}) == set() and holm({}) == set()
