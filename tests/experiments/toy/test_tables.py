from pathlib import Path
from typing import Any

import pytest

from experiments.answers.answer import Answer, Table
from experiments.answers.markdown import as_section
from experiments.toy.answers import list_gains, numbers
from experiments.toy.data import GUIDANCES, TASKS
from experiments.toy.tables import as_answer
from experiments.toy.telling import TELLING, finding
from train.scoring.titles import TITLES


def block(auroc: float, sd: float | None = None) -> dict[str, Any]:
    interval = [auroc - 0.1, auroc + 0.1]
    numbers = {
        "auroc": auroc,
        "auroc_interval": interval,
        "auroc_sd": sd,
        "n_groups": 30,
        "balanced_accuracy_at_val_threshold": auroc - 0.2,
    }
    return {**numbers, "n_generated": 1234, "n_real": 60}


def results_of(shift: float) -> dict[str, Any]:
    """The readings' AUROCs are 0.5, 0.51, …, and `shift` more."""
    readings = {}
    for i, name in enumerate(TITLES):
        here = block(0.5 + i / 100 + shift, None if i < 2 else 0.01)
        controls = {"real": here} | {f"toy-a-guidance-{g:g}": block(0.4 + g / 100) for g in GUIDANCES}
        readings[name] = {"sources": {"toy-a": here}, "controls": controls, "mean": here}
    difference = {"auroc_difference": -shift, "interval": [-0.2, 0.1], "n_groups": 30, "sd": 0.02}
    differences = {
        f"full − {other}": {"toy-a": difference} for other in ("image_only", "permuted_maps", "constant_map")
    }
    fields = {"timestep": 200, "ensemble_size": 4}
    settings = {"fields": fields, "git_commit": "abc123", "git_dirty": False}
    return {"readings": readings, "differences": differences, "settings": settings}


@pytest.fixture
def found() -> tuple[dict[str, Any], dict[str, Any]]:
    """answers.json and both results.json."""
    results = {task: results_of(i / 10) for i, task in enumerate(TASKS)}
    share = {"n": 60, "lower_than_roundtrip": 0.7, "interval": [0.6, 0.8], "n_groups": 30}
    share |= {"smoother_than_roundtrip": 0.9}
    change = {"change": -0.01, "change_interval": [-0.02, 0.0], "n_groups": 29}
    guidance = [{"guidance": g, "n": 30, "mean": 0.25, **change} for g in GUIDANCES]
    answers = {
        "settings": {"num_seeds": 5, "generator_photos": True},
        "aims": [{"number": n, "aim": "an aim", "met": n != "2", "items": ["0.9"]} for n in ("1", "2")],
        "gains": list_gains(results[TASKS[1]], ["toy-a"], 5),
        "without_roundtrip": ["toy-d-img2img"],
        "pairs": {"toy-a-img2img": {"all": share, "strength 0.3": share}},
        "by_setting": {
            task: {
                name: {"toy-a, guidance 3": each["sources"]["toy-a"]}
                for name, each in results[task]["readings"].items()
            }
            for task in TASKS
        },
        "guidance": guidance,
        "mean_lare": {"real": {"n": 60, "mean": 0.25, "interval": [0.2, 0.3], "n_groups": 30}},
    }
    return answers, results


def tables_of(answer: Answer) -> dict[str, Table]:
    return {table.title: table for table in answer.tables}


def test_answer_says_the_verdict_and_what_makes_it_again(found: tuple[dict[str, Any], dict[str, Any]]) -> None:
    answers, results = found
    answer = as_answer(answers, results)
    assert "1 of 4" in answer.headline and answer.finding == finding(numbers(answers, results))
    assert answer.command == "make toy-benchmark PHOTOS=FOLDER GENERATOR_PHOTOS=FOLDER"
    maps = {"timestep": 200, "ensemble_size": 4}
    assert answer.settings == {**answers["settings"], **maps, "git_commit": "abc123", "git_dirty": False}
    answers["settings"]["generator_photos"] = False
    assert as_answer(answers, results).command == "make toy-benchmark PHOTOS=FOLDER"


def test_tables_hold_the_numbers_of_their_task(found: tuple[dict[str, Any], dict[str, Any]]) -> None:
    tables = tables_of(as_answer(*found))
    assert next(iter(tables.values())).rows == (
        ("toy-a-img2img", "all", 60, 30, "70 % (60 to 80)", "0.90"),
        ("toy-a-img2img", "strength 0.3", 60, 30, "70 % (60 to 80)", "0.90"),
    )
    assert "as the model has no decoder" in next(iter(tables.values())).note
    assert tables["2. The map alone, plain: AUROC"].rows == (
        ("toy-a, guidance 3", 30, "0.52 (0.42 to 0.62) ±0.010", "0.51 (0.41 to 0.61)", "0.50 (0.40 to 0.60)"),
    )
    matched = tables["2. The map alone, decoder-matched: AUROC"]
    assert matched.rows[0][2] == "0.62 (0.52 to 0.72) ±0.010" and "AUROC 0.62." in matched.note
    difference = "−0.100 (−0.309 to +0.109; 5 seeds)"
    title = "3. What the map adds to the image, decoder-matched: difference of AUROCs"
    assert tables[title].rows == (("toy-a", *[difference] * 3),)
    assert tables["4. Guidance"].rows[1] == (
        *("3", 30, 29, "0.2500", "−0.0100 (−0.0200 to +0.0000)"),
        *["0.43 (0.33 to 0.53)"] * 4,
    )
    assert tables["Mean LaRE by source"].rows == (("real", 60, 30, "0.2500 (0.2000 to 0.3000)"),)


def test_controls_are_in_brackets_and_below_the_sources(found: tuple[dict[str, Any], dict[str, Any]]) -> None:
    tables = tables_of(as_answer(*found))
    table = tables[
        "All readings, decoder-matched: balanced accuracy, and the share of controls that is called generated"
    ]
    assert table.columns == ("image source", "n", "against", "groups", *TITLES.values())
    assert [row[0] for row in table.rows] == [
        *("toy-a", "(real)", "(toy-a-guidance-1)", "(toy-a-guidance-3)", "(toy-a-guidance-5)", "mean of the sources"),
    ]
    assert table.rows[0] == ("toy-a", 1234, 60, 30, "0.40", "0.41", "0.42", "0.43", "0.44", "0.45", "0.46")


def test_detectors_and_readings_that_train_nothing_stand_in_tables_of_their_own(
    found: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    tables = tables_of(as_answer(*found))
    plain, trained = (tables[f"{kind}, plain: AUROC"] for kind in ("Readings that train nothing", "Detectors"))
    assert [*plain.columns[4:]] == ["gradient energy", "mean LaRE"] and plain.rows[0][4] == "0.50 (0.40 to 0.60)"
    assert {*plain.columns[4:], *(f"detector, {name}" for name in trained.columns[4:])} == set(TITLES.values())
    assert [row[0] for row in plain.rows] == [row[0] for row in trained.rows]


def test_answer_with_its_targets_is_kept_and_read_again(
    found: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    answer = as_answer(*found)
    assert Answer.load(answer.save(tmp_path)) == answer
    assert answer.numbers == numbers(*found) and answer.numbers["map_only_auroc"] == 0.62
    assert TELLING.retell(answer) == answer
    assert "| toy-a-img2img | all | 60 | 30 | 70 % (60 to 80) | 0.90 |" in as_section(answer)
