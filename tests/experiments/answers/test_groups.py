"""How many groups intervals rest on, in words; and answers of earlier versions, which did not count them."""

import json

import pytest

from experiments.answers.answer import Answer
from experiments.answers.groups import (
    OLD_INTERVALS,
    describe_groups,
    describe_spread,
    find_counts,
    warn_of_groups,
)
from experiments.questions import QUESTIONS, load_telling
from experiments.report import KEPT
from experiments.toy.telling import NAME, TELLING


def value(n_groups: int | None = 40) -> dict[str, object]:
    return {"mean": 0.5, "interval": [0.4, 0.6], "sd": None, "n_groups": n_groups}


def test_counts_are_found_beside_intervals_at_any_depth() -> None:
    old = {"mean": 0.5, "interval": [0.4, 0.6]}
    numbers = {"a": [value(40), {"deep": value(7)}], "b": old, "without": {"interval": None}, "text": "interval"}
    assert find_counts(numbers) == {40, 7, None}
    assert find_counts({"change_interval": (0.0, 1.0), "n_groups": 3}) == {3} and find_counts({}) == set()


def test_notes_tell_the_groups_of_each_part() -> None:
    assert describe_groups({"a": value(), "b": value()}) == "Groups behind each interval: 40."
    assert describe_groups({"a": value(), "b": value(), "c": [value(7), value(1200)]}) == (
        "Groups behind the intervals: 40 (a, b); 7 to 1,200 (c)."
    )
    old = {"interval": [0.4, 0.6]}
    assert describe_groups({"a": old}) == "The number of groups was not kept."
    assert "an unknown number (a)" in describe_groups({"a": old, "b": value()})
    assert describe_groups({"a": None}) == "There are no intervals."
    assert describe_spread({"a": value()}).endswith("over seeds. Groups behind each interval: 40.")


def test_few_groups_and_old_intervals_are_warned_of() -> None:
    assert warn_of_groups({"a": value(30)}) == []
    (few,) = warn_of_groups({"a": value(29), "b": value(14)})
    assert few.startswith("Few groups: 14, fewer than 30.")
    assert warn_of_groups({"a": value(500), "b": {"interval": [0, 1]}}) == [OLD_INTERVALS]


@pytest.mark.parametrize("name", [NAME, *QUESTIONS])
def test_kept_answers_say_where_their_intervals_are_old(name: str) -> None:
    kept = Answer.load(KEPT / f"{name}.json")
    counts = find_counts(kept.numbers)
    assert (OLD_INTERVALS in kept.limits) == (None in counts)


def test_a_new_answer_has_its_groups_in_notes_and_its_warning_in_the_limits() -> None:
    kept = Answer.load(KEPT / "timestep.json")

    def count(numbers: object) -> object:
        if isinstance(numbers, list):
            return [count(each) for each in numbers]
        if not isinstance(numbers, dict):
            return numbers
        counted = {name: count(each) for name, each in numbers.items()}
        return counted | {"n_groups": 14} if "interval" in counted else counted

    numbers = count(json.loads(json.dumps(kept.numbers)))
    told = load_telling("timestep").tell("timestep", numbers, kept.command, kept.settings)
    assert "Few groups: 14, fewer than 30." in told.limits and OLD_INTERVALS not in told.limits
    shown = [table for table in told.tables if "interval" in table.note]
    assert len(shown) > 3 and all("Groups behind each interval: 14." in table.note for table in shown)


def test_the_toy_benchmark_of_an_earlier_version_is_told_as_old() -> None:
    """Whatever is kept now."""
    guidance = {"guidances": [1.0], "change_interval": [-0.2, -0.1], "auroc": {}}
    told = TELLING.tell(NAME, {"aims": [], "map_only_auroc": 0.5, "guidance": guidance}, "make", {})
    assert told.limits.endswith(OLD_INTERVALS)
