"""Checks of single settings: what was given, and what was expected."""

from collections.abc import Sequence


def check_least(name: str, value: float | None, least: int) -> None:
    """Raise ValueError if a number is too small. None is a number that was not given."""
    if value is not None and value < least:
        raise ValueError(f"{name} is {value}: expected {least} or more")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError if a value is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(map(str, choices))}")
