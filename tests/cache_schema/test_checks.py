import pytest

from cache_schema import check_choice, check_least


def test_a_number_below_the_least_is_refused() -> None:
    for value in (1, 2, 1.5, None):
        check_least("workers", value, 1)
    check_least("workers", 0, 0)
    with pytest.raises(ValueError, match=r"^workers is 0: expected 1 or more$"):
        check_least("workers", 0, 1)
    with pytest.raises(ValueError, match=r"^timestep is -1: expected 0 or more$"):
        check_least("timestep", -1, 0)


def test_a_value_that_is_no_choice_is_refused() -> None:
    check_choice("overwrite", False, (False, True, "stale"))
    with pytest.raises(ValueError, match=r"^overwrite is 'old': expected one of False, True, stale$"):
        check_choice("overwrite", "old", (False, True, "stale"))
    with pytest.raises(ValueError, match=r"^split is None: expected one of train, test$"):
        check_choice("split", None, ("train", "test"))
