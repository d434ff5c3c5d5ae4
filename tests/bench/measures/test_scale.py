"""The scale measurement at a tiny size: it runs, and writes its figures."""

import json
from pathlib import Path

import pytest

from bench.measures.scale import growth, is_above, main
from bench.runner import reading


@pytest.mark.slow
def test_it_measures_each_piece_of_work_in_a_process_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "scale.json"
    assert main(["--samples", "4500", "9000", "--runs=1", f"--out={out}"]) in (0, 1)
    names = {entry["measure"] for entry in json.loads(out.read_text())}
    for work in (
        "open_index",
        "status",
        "watch",
        "plan_launch",
        "plan_new_launch",
        "plan_epoch",
        "check_groups",
        "check_index",
    ):
        assert {f"scale.{work}.9000.seconds", f"scale.{work}.4500.peak", f"scale.{work}.growth"} <= names
    assert [path.name for path in tmp_path.iterdir()] == ["scale.json"]


def test_growth_is_one_where_time_is_proportional() -> None:
    assert growth("status", {100: [1.0], 400: [4.0, 5.0, 3.0]}).value == pytest.approx(1.0)


def test_the_peak_is_judged_without_imports() -> None:
    assert not is_above(reading("scale.x.1.peak", [900.0], "MiB", target="≤ 500"))
    assert is_above(reading("scale.x.1.above_imports", [900.0], "MiB", target="≤ 500"))
