"""How figures look, and the means to hold a process to one core."""

import os

import pytest
import torch

from bench.config import BenchConfig
from bench.machine import one_core
from bench.report import as_entries, format_number, format_table
from bench.runner import Figure


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.0, "1.00"),
        (1.2345, "1.23"),
        (99.44, "99.4"),
        (0.0123, "0.0123"),
        (12345.6, "12,346"),
        (1e-5, "1.00e-05"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str):
    assert format_number(value) == text


def test_table_shows_the_range_only_of_several_runs():
    table = format_table(
        [Figure("a", 2.0, "×", [1.0, 3.0], "its limit", "≥ 2"), Figure("long_name", 5.0, "GMAC", [5.0])]
    )
    header, first, second = table.splitlines()
    assert header.split() == ["measure", "value", "lowest", "…", "highest", "unit", "target", "of", "what"]
    assert first.split() == ["a", "2.00", "1.00", "…", "3.00", "×", "≥", "2", "its", "limit"]
    assert second.split() == ["long_name", "5.00", "GMAC"]
    assert first.index("2.00") == second.index("5.00")


def test_entries_hold_every_run():
    entry = as_entries([Figure("a", 2.0, "×", (1.0, 3.0), "its limit", "≥ 2")], "python -m bench")[0]
    assert entry == {
        "measure": "a",
        "value": 2.0,
        "unit": "×",
        "runs": [1.0, 3.0],
        "how": "python -m bench",
        "against": "its limit",
        "target": "≥ 2",
    }


def test_command_names_only_what_is_not_the_default():
    assert BenchConfig().command("feed_rate") == "python -m bench --measures feed_rate"
    changed = BenchConfig(runs=3, memory_tars=[2, 5]).command("memory_20_over_2")
    assert changed == "python -m bench --measures memory_20_over_2 --runs 3 --memory_tars [2,5]"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux alone has it")
def test_one_core_is_one_core_and_is_given_back():
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
        assert torch.get_num_threads() == 1
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == (cores, threads)
