import pytest

from experiments.answers.verdicts import (
    WORDS,
    Value,
    compare,
    compare_all,
    describe_difference,
    describe_value,
    group_verdicts,
    join_names,
    judge,
    state_verdicts,
)


def value(mean: float, low: float, high: float, sd: float | None = None) -> Value:
    return {"mean": mean, "interval": (low, high), "sd": sd}


WORSE, SAME, BETTER = value(-0.1, -0.1, -0.1), value(0.0, 0.0, 0.0), value(0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (value(0.02, 0.01, 0.03), 1),
        (value(-0.02, -0.03, -0.01, sd=0.01), -1),
        (value(0.02, -0.001, 0.03), 0),
        (value(0.02, 0.01, 0.03, sd=0.021), 0),  # the seeds are further apart than it is large
        ({"mean": 0.02, "interval": None, "sd": None}, 0),
    ],
)
def test_what_is_better_is_so_throughout_the_interval_and_beyond_the_seeds(difference: Value, verdict: int) -> None:
    assert judge(difference) == verdict


def test_values_and_differences_tell_interval_and_spread() -> None:
    assert describe_value(value(0.84, 0.796, 0.874)) == "0.84 (0.80 to 0.87)"
    assert describe_value(value(0.84, 0.796, 0.874, sd=0.01)).endswith(" ±0.010")
    assert describe_difference(value(-0.02, -0.02, -0.02)) == "−0.020 (−0.020 to −0.020)"
    assert (
        describe_difference({"mean": 0.1, "interval": None, "sd": 0.0}) == "+0.100 (no interval; sd over seeds 0.000)"
    )


def test_a_comparison_names_both_sides_the_verdict_and_the_figure() -> None:
    for verdict, difference in ((-1, WORSE), (0, SAME), (1, BETTER)):
        text = compare("this", "that", difference, "AP")
        parts = ("This", "that", WORDS[verdict], f"AP {describe_difference(difference)}")
        places = [text.index(part) for part in parts]
        assert places == sorted(places) and len(set(WORDS.values())) == 3


def test_what_is_worse_is_told_first() -> None:
    lines = compare_all([("a", "b", BETTER), ("c", "d", WORSE), ("e", "f", SAME)])
    assert [line[2] for line in lines] == ["C", "E", "A"] and all(line.startswith("- ") for line in lines)
    assert compare_all([]) == []


def test_a_headline_names_what_is_worse_first_and_leaves_out_what_there_is_none_of() -> None:
    text = state_verdicts({"x": BETTER, "y": SAME, "z": WORSE, "w": SAME}, "other")
    assert [text.index(name) for name in ("z is", "y and w are", "x is")] == sorted(
        text.index(name) for name in ("z is", "y and w are", "x is")
    )
    assert text.count("other") == 1 and WORDS[-1] in text and WORDS[1] in text
    assert WORDS[-1] not in state_verdicts({"x": BETTER}, "other") and state_verdicts({}, "other") == ""


def test_verdicts_are_grouped_and_names_listed() -> None:
    assert group_verdicts({"a": 1, "b": -1, "c": 1}) == {-1: ["b"], 1: ["a", "c"]}
    assert [join_names(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert (
        join_names(["a, x", "b"]) == "a, x; and b" and join_names(["a (x, y)", "b"], is_simple=True) == "a (x, y) and b"
    )
