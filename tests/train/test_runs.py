"""Runs by their numbers, and what they cost."""

import json
from pathlib import Path

import pytest

from train.runs import TIME_NAME, Rate, Run, choose_numbers, describe_cost, find_rate, format_time, list_runs, timing


@pytest.mark.parametrize(
    ("only", "numbers"), [(None, [0, 1, 2, 3]), ("3", [3]), (0, [0]), ("0-2", [0, 1, 2]), ("3, 0-1,1", [0, 1, 3])]
)
def test_numbers_are_chosen_like_shards(only: str | int | None, numbers: list[int]) -> None:
    assert choose_numbers(only, 4) == numbers


@pytest.mark.parametrize("only", ["", "x", "-1", "1-", "2-1", "1 2", "٣", "0-9999999999", "all"])
def test_other_texts_are_refused(only: str) -> None:
    with pytest.raises(ValueError, match=r"only is '.*': expected numbers of runs, like 3 or 0-3 or 0,2,5-7"):
        choose_numbers(only, 4)


@pytest.mark.parametrize("only", ["4", "0-4", "999999999"])
def test_numbers_of_no_run_are_refused(only: str) -> None:
    with pytest.raises(ValueError, match=r"there are 4 runs, 0 … 3; --dry_run lists them"):
        choose_numbers(only, 4)


@pytest.mark.parametrize(
    ("hours", "text"),
    [(120.4, "120 hours"), (1.26, "1.3 hours"), (0.5, "30 minutes"), (0.05, "3 minutes"), (1 / 3600, "1 second")],
)
def test_a_time_has_two_digits_in_the_unit_that_fits(hours: float, text: str) -> None:
    assert format_time(hours) == text


def test_the_rate_is_measured_given_or_unknown(tmp_path: Path) -> None:
    runs = [Run(f"r{n}", tmp_path / f"r{n}", 100, 2) for n in range(2)]
    files = [run.folder / TIME_NAME for run in runs]
    assert find_rate(files, None) == Rate(None, "")
    with timing(runs[0]):
        pass
    assert json.loads(files[0].read_text())["images"] == 200
    files[0].write_text('{"seconds": 10, "images": 200}')
    assert find_rate(files, None) == Rate(20, "the mean of 1 finished fit")
    files[1].parent.mkdir()
    for text in (
        "",
        "[]",
        "{}",
        '{"seconds": 0, "images": 1}',
        '{"seconds": Infinity, "images": 1}',
        '{"seconds": "x"}',
    ):
        files[1].write_text(text)  # of a stranger, or cut short
        assert find_rate(files, None) == Rate(20, "the mean of 1 finished fit")
    files[1].write_text('{"seconds": 30, "images": 200}')
    assert find_rate(files, None) == Rate(10, "the mean of 2 finished fits")
    assert find_rate(files, 7) == Rate(7, "as given")


def test_what_is_left_is_told_with_what_the_estimate_rests_on(tmp_path: Path) -> None:
    runs = [Run(f"r{n}", tmp_path, 3600, 10, is_done=n == 0) for n in range(3)]
    rate = Rate(10, "the mean of 1 finished fit")
    text = "3 fits of 10 epochs, 1 done; 72,000 training images to take in"
    assert describe_cost(runs, rate) == f"{text}: 2 hours, at 10 images/s a fit (the mean of 1 finished fit)"
    assert f"{text}: 1 hour, 2 at once, at 10 images/s a fit" in describe_cost(runs, rate, num_jobs=2)
    assert "hours are unknown: --images_per_second" in describe_cost(runs, Rate(None, ""))
    assert describe_cost(runs[:1], rate) == "1 fit of 10 epochs, 1 done"
    assert list_runs(runs) == "0  done  r0\n1  to do  r1\n2  to do  r2\n"
