from experiments.answers.answer import Answer, Table
from experiments.answers.older import NO_RULE, OLD_RULE, add_seeds, update_tables
from experiments.answers.telling import Telling
from tests.experiments.sample_answers import make_answer

OLD = {"mean": 0.1, "interval": [0.0, 0.2], "sd": 0.1}


def test_values_are_told_the_seeds_of_their_answer() -> None:
    numbers = {"a": {"b": [OLD, OLD | {"sd": None}]}, "n": 3, "other": {"mean": 1.0}}
    told = add_seeds(numbers, 2)
    assert [each["num_seeds"] for each in told["a"]["b"]] == [2, 0]
    assert told["n"] == 3 and told["other"] == {"mean": 1.0} and "num_seeds" not in OLD
    assert add_seeds(told, 7) == told and add_seeds(numbers, None) == numbers


def test_tables_that_are_kept_lose_the_old_rule_and_the_old_meaning_of_a_column() -> None:
    old = Table("t", ("x", "detector, image + permuted maps"), ((1, 2),), f"Note. {OLD_RULE}")
    today = Table("t", ("x", "detector, image + permuted maps", "detector, image + one constant map"), (), "Note.")
    (told, same) = update_tables([old, today])
    assert told.note == f"Note. {NO_RULE}" and "in the test alone" in told.columns[1] and told.rows == old.rows
    assert same == today and update_tables([told]) == (told,)


def test_an_answer_is_told_again_by_the_rule_of_today() -> None:
    seen = []

    def tell(numbers: dict) -> str:
        seen.append(numbers["x"]["num_seeds"])
        return "."

    answer: Answer = make_answer(numbers={"x": OLD})
    told = Telling("q", "l", tell, tell).retell(answer)
    assert set(seen) == {2} and told.numbers["x"]["num_seeds"] == 2  # of the answer's settings
