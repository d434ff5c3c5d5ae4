from experiments.answers.rule import ORDER, Value, Verdict
from experiments.answers.verdicts import (
    CHANCE_WORDS,
    compare,
    compare_all,
    describe_difference,
    describe_value,
    group_verdicts,
    join_names,
    state_verdicts,
)


def value(mean: float, low: float, high: float, sd: float | None = None, num_seeds: int = 0) -> Value:
    return {"mean": mean, "interval": (low, high), "sd": sd, "num_seeds": num_seeds}


def test_values_and_differences_tell_interval_and_seeds() -> None:
    assert describe_value(value(0.84, 0.796, 0.874)) == "0.84 (0.80 to 0.87)"
    assert describe_value(value(0.84, 0.796, 0.874, sd=0.01, num_seeds=2)).endswith(" ±0.010")
    assert describe_difference(value(-0.02, -0.03, -0.01)) == "−0.020 (−0.030 to −0.010)"
    assert describe_difference(value(0.02, 0.01, 0.03, None, 1)) == "+0.020 (+0.010 to +0.030; 1 seed, images alone)"
    nothing = {"mean": 0.1, "interval": None, "sd": 0.0, "num_seeds": 5}
    assert describe_difference(nothing) == "+0.100 (no interval; 5 seeds)"


def test_the_interval_of_a_difference_is_wider_with_seeds_that_differ() -> None:
    assert describe_difference(value(0.02, 0.01, 0.03, 0.001, 5)) == "+0.020 (+0.010 to +0.030; 5 seeds)"
    assert describe_difference(value(0.02, 0.01, 0.03, 0.05, 5)) == "+0.020 (−0.041 to +0.081; 5 seeds)"


def test_a_comparison_names_both_sides_the_verdict_and_the_figure() -> None:
    difference = value(0.02, 0.01, 0.03)
    for verdict in Verdict:
        text = compare("this", "that", difference, verdict, "AP")
        parts = ("This", "that", verdict, f"AP {describe_difference(difference)}")
        places = [text.index(part) for part in parts]
        assert places == sorted(places)
    assert len(set(CHANCE_WORDS.values())) == 5


def test_what_is_worse_is_told_first() -> None:
    here = value(0.0, 0.0, 0.0)
    compared = [("a", "b", here, Verdict.BETTER), ("c", "d", here, Verdict.WORSE), ("e", "f", here, Verdict.SAME)]
    lines = compare_all(compared)
    assert [line[2] for line in lines] == ["C", "E", "A"] and all(line.startswith("- ") for line in lines)
    assert compare_all([]) == []


def test_a_headline_names_what_is_worse_first_and_leaves_out_what_there_is_none_of() -> None:
    verdicts = {"x": Verdict.BETTER, "y": Verdict.SAME, "z": Verdict.WORSE, "w": Verdict.SAME, "v": Verdict.FEW_SEEDS}
    text = state_verdicts(verdicts, "other")
    parts = ("z is significantly worse than other", "v against other: not enough", "y and w are not", "x is")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert state_verdicts({"e": Verdict.EQUAL}, "other") == "e is as good as other"
    assert Verdict.WORSE not in state_verdicts({"x": Verdict.BETTER}, "other") and state_verdicts({}, "other") == ""


def test_verdicts_are_grouped_and_names_listed() -> None:
    grouped = group_verdicts({"a": Verdict.BETTER, "b": Verdict.WORSE, "c": Verdict.BETTER})
    assert list(grouped.items()) == [(Verdict.WORSE, ["b"]), (Verdict.BETTER, ["a", "c"])] and len(ORDER) == len(
        Verdict
    )
    assert [join_names(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert (
        join_names(["a, x", "b"]) == "a, x; and b" and join_names(["a (x, y)", "b"], is_simple=True) == "a (x, y) and b"
    )
