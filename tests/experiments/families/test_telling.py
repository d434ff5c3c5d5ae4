from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.answers.rule import Verdict, judge
from experiments.families.heat import draw_heat
from experiments.families.numbers import ALL
from experiments.families.settings import TASKS
from experiments.families.tables import charts, tables
from experiments.families.telling import TELLING, UNTRAINED, compare, finding, headline
from tests.experiments.made_up import line_with, value

MODELS = ["a", "c"]


def make_cells(own: float, other: float, **how: Any) -> dict[str, Any]:
    """Probe → image source → AUROC."""
    return {p: {s: value(own if p == s else other, **how) for s in (*MODELS, ALL)} for p in MODELS}


def make_gaps(own: float, other: float, **how: Any) -> dict[str, Any]:
    return {s: {p: value(own - other, **how) for p in MODELS if p != s} for s in MODELS}


@pytest.fixture
def partial() -> dict[str, Any]:
    """What is known before anything is trained: the own probe at 0.8, the other at 0.3, decoder-matched 0.6 and 0.5."""
    found: dict[str, Any] = {"models": MODELS, "matrix": {}, "own_less_other": {}}
    for task, aurocs in zip(TASKS, ((0.8, 0.3), (0.6, 0.5)), strict=True):
        found["matrix"][task] = {"mean_lare": make_cells(*aurocs)}
        found["own_less_other"][task] = {"mean_lare": make_gaps(*aurocs)}
    return found


@pytest.fixture
def whole(partial: dict[str, Any]) -> dict[str, Any]:
    """With detectors of three seeds, stacked probes, and two noise levels."""
    seeds: dict[str, Any] = {"sd": 0.01, "num_seeds": 3}
    for task in TASKS:
        for variant, aurocs in (("map_only", (0.9, 0.7)), ("full", (0.95, 0.85))):
            partial["matrix"][task][variant] = make_cells(*aurocs, **seeds)
            partial["own_less_other"][task][variant] = make_gaps(*aurocs, **seeds)
    scores = {
        name: {s: value(0.7 + 0.1 * (name == "ac"), **seeds) for s in (*MODELS, ALL)} for name in ("a", "c", "ac")
    }
    partial["stack"] = {
        task: {
            "together": "ac",
            "chosen": "c",
            "validation": {"a": 0.6, "c": 0.75, "ac": 0.8},
            "aurocs": scores,
            "together_less_chosen": {s: value(0.1, **seeds) for s in (*MODELS, ALL)},
        }
        for task in TASKS
    }
    partial["sweep"] = [
        {
            "sigma": sigma,
            "timestep": timestep,
            "aurocs": {task: {p: {s: value(0.7) for s in (*MODELS, ALL)} for p in MODELS} for task in TASKS},
            "c_less_a": {task: dict.fromkeys((*MODELS, ALL), value(difference)) for task in TASKS},
        }
        for sigma, timestep, difference in ((0.3, 150, 0.1), (0.7, 600, 0.0))
    ]
    return partial


def test_partial_answer_tells_mean_lare_alone(partial: dict[str, Any]) -> None:
    text = finding(partial)
    assert headline(partial) == text.splitlines()[0]
    assert "probe's own model in 2 of 2 cases, on images of another in 0 of 2." in headline(partial)
    inverted = line_with(text, "inverted")
    assert inverted.endswith("A on C and C on A.")
    assert line_with(text, "consistent with chance").endswith("A on C and C on A.")
    assert text.count("above chance: A on A and C on C.") == 2
    assert UNTRAINED in text and "stacked" not in text and "σ" not in text
    assert not [*charts(partial)] and len([*tables(partial)]) == 4


def test_whole_answer_gives_estimates_of_detectors_without_a_verdict(whole: dict[str, Any]) -> None:
    text, judged = finding(whole), judge(compare(whole))
    assert UNTRAINED not in text
    trained = [verdict for key, verdict in judged.items() if key[0] == "stack" or key[1] in ("map_only", "full")]
    assert len(trained) == 2 * 2 * 2 + 2 * 3 and set(trained) == {Verdict.FEW_SEEDS}
    line = line_with(text, "Detector, map only, plain", "mean AUROC 0.90", "0.70 on the others'")
    assert "not enough seeds for a verdict (2)" in line
    stacked = line_with(text, "Decoder-matched, images of all models: probes AC stacked", "probe C")
    assert "not enough seeds for a verdict, AUROC +0.100" in stacked and "3 seeds" in stacked
    assert "significantly better: σ = 0.3." in line_with(text, "- plain, significantly better")
    assert line_with(text, "- plain, no significant difference").endswith("σ = 0.7.")
    assert "0.90 on images of the probe's own model, and of 0.70 on the others'" in headline(whole)


def test_tables_charts_and_retelling(whole: dict[str, Any], tmp_path: Path) -> None:
    shown = [*tables(whole)]
    assert all(len(row) == len(table.columns) for table in shown for row in table.rows)
    stack = next(table for table in shown if table.title.startswith("Stacked"))
    assert "Validation images of A chose probe C" in stack.note and "AC 0.800" in stack.note
    drawn = [*charts(whole)]
    assert len(drawn) == 3 and all(len(chart.curves) == 4 and chart.curves[0].x == (0.3, 0.7) for chart in drawn)
    answer = TELLING.tell("families", whole, "a command", {"num_seeds": 3})
    answer.save(tmp_path)
    assert TELLING.retell(type(answer).load(tmp_path / "families.json")) == answer


def test_heat_maps_have_a_panel_for_each_reading_and_task(whole: dict[str, Any], tmp_path: Path) -> None:
    sizes = []
    for readings in (1, 3):
        found = {**whole, "matrix": {task: dict([*each.items()][:readings]) for task, each in whole["matrix"].items()}}
        draw_heat(found, tmp_path / "heat.png")
        with Image.open(tmp_path / "heat.png") as image:
            sizes.append(image.size)
    assert sizes[1][0] > 1.8 * sizes[0][0]
