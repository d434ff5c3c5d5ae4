from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from cache_schema import write_json
from experiments.verdicts.family import correct, p_of_share
from experiments.verdicts.files import FILES
from experiments.verdicts.heat import draw_moves
from experiments.verdicts.moves import CALLED, FLIPS, LOST, MOVES
from experiments.verdicts.seen import BY_HASH, PACKED, RESEEDED, Seen
from experiments.verdicts.shares import share_of_groups
from experiments.verdicts.tables import percent, rate_text, share_text, tables
from experiments.verdicts.telling import (
    TELLING,
    count_flips,
    find_loud_controls,
    finding,
    headline,
    list_excesses,
)
from experiments.verdicts.verdicts import load_sets, numbers
from tests.experiments.made_up import as_json, line_with
from tests.experiments.verdicts.made_up import DESCRIPTION, FORMAT, GENERATED, REAL, seen

NUM = 20
NUM_FLIPS = 3
OTHERS = len(FILES) - 1


def measured(num_alarms: int = 0, rates: tuple[float, ...] = (0.01, 0.05)) -> dict[str, Any]:
    """Twenty photographs, generated images and controls; the first photographs are called generated.

    As "JPEG 50" three generated images are called real. Half of the controls are called generated where nobody checks
    the domain. Noise moves nothing by the hash and 0.1 by another seed.
    """
    images: list[Seen] = []
    for i in range(NUM):
        scores = (GENERATED if i < num_alarms else REAL, GENERATED)
        for label, score in enumerate(scores):
            key = f"{label}-{i}"
            images += [seen(key, score, label, file) for file in (PACKED, BY_HASH)]
            images.append(seen(key, score - 0.01, label, RESEEDED))
            for file in FILES:
                flips = file == "JPEG 50" and label == 1 and i < NUM_FLIPS
                images.append(seen(key, REAL if flips else score, label, file))
        images.append(seen(f"control-{i}", GENERATED if i % 2 else REAL, None, unlike=FORMAT))
    return numbers(images, DESCRIPTION, rates)


def answered(**sets: dict[str, Any]) -> dict[str, Any]:
    return as_json({"sets": sets})


def test_numbers_of_a_set() -> None:
    one = measured()
    assert (one["num_validation_photographs"], one["num_validation_groups"], one["smallest_rate"]) == (99, 99, 0.01)
    assert one["num_unusable"] == 0 and [each["used"] for each in one["false_alarms"]] == [0.01, 0.05]
    assert {name: each["label"] for name, each in one["verdicts"].items()} == {"control": None, "real": 0, "toy": 1}
    assert one["noise"]["num_images"] == 2 * NUM and one["noise"]["excess"]["side"] == -1


def test_pictures_that_cannot_be_used_are_counted_and_no_photograph_is_an_error() -> None:
    known = [seen("a", REAL), seen("b", None), *(seen("a", REAL, file=file) for file in (BY_HASH, RESEEDED, *FILES))]
    assert numbers(known, DESCRIPTION, (0.01,))["num_unusable"] == 1
    with pytest.raises(ValueError, match="can use no test photograph"):
        numbers([seen("b", None), seen("c", GENERATED, 1)], DESCRIPTION, (0.01,))


def test_flips_are_counted_over_all_other_files() -> None:
    one = measured()
    assert count_flips(one, "checked") == count_flips(one, "unchecked") == (NUM_FLIPS, 2 * NUM * OTHERS)


def test_controls_that_are_called_generated_too_often() -> None:
    one = correct(answered(toy=measured()))["sets"]["toy"]
    assert find_loud_controls(one, "checked") == [] and find_loud_controls(one, "unchecked") == ["control"]


def test_no_excess() -> None:
    found = answered(toy=measured(), small=measured(1))
    text, head = finding(found), headline(found)
    assert list_excesses(found) == [] and head.startswith("No ") and "p_real alone" not in head
    assert f"{2 * NUM_FLIPS} of {2 * 2 * NUM * OTHERS} verdicts flip" in head
    lines = text.splitlines()
    blocks = [i for i, line in enumerate(lines) if line.startswith(("toy: ", "small: "))]
    assert blocks == [0, len(lines) // 2]
    line_with("\n".join(lines[: blocks[1]]), "at 1 %:", "are called generated. No significant difference")
    line_with("\n".join(lines[: blocks[1]]), "toy at 1 %", "100 %")
    line_with("\n".join(lines[: blocks[1]]), "without the domain check", "control (50 %)")
    line_with("\n".join(lines[: blocks[1]]), "No control", "with the domain check")
    line_with("\n".join(lines[: blocks[1]]), "with the domain check", f"{NUM_FLIPS} of {2 * NUM * OTHERS}", "JPEG 50")
    line_with("\n".join(lines[: blocks[1]]), "Generated images", "without", f"{NUM} of {NUM} as PNG", f"most {NUM} as")


def test_an_excess_comes_first() -> None:
    found = answered(toy=measured(), bad=measured(10))
    assert [(name, each["used"]) for name, each in list_excesses(found)] == [("bad", 0.01), ("bad", 0.05)]
    assert headline(found).startswith("Too many") and "50 % (27.2 to 72.8)" in headline(found)
    line_with(finding(found), "False alarms at 1 %", "50 %", "Significantly more")
    line_with(finding(found), "By p_real alone, at 5 %", "50 %", "significantly more", "more than chance alone gives")
    assert "but p_real alone exceeds its rate (bad)" in headline(found)


@pytest.mark.parametrize(("hits", "n", "rate"), [(3, 20, 0.05), (0, 20, 0.1), (20, 20, 0.5), (9, 100, 0.2)])
def test_p_values_of_shares_are_exact(hits: int, n: int, rate: float) -> None:
    share = share_of_groups(np.arange(n) < hits, np.arange(n).astype(str))
    tails = binom.sf(hits - 1, n, rate), binom.cdf(hits, n, rate)
    assert p_of_share(share, rate) == pytest.approx(min(1, 2 * min(tails)))


def test_an_excess_among_many_comparisons_must_be_larger() -> None:
    # Two of twenty at 1 %: p is 0.034 alone, and there are twelve comparisons and more.
    one = measured(2)
    assert one["false_alarms"][0]["side"] == 1
    assert list_excesses(correct(answered(toy=one))) == []
    assert list_excesses(correct(answered(toy=measured(10)))) != [] and one["false_alarms"][0]["side"] == 1


def test_rates_that_are_not_supported_are_named() -> None:
    assert rate_text({"asked": [0.01, 0.05], "used": 1 / 7}) == "14.3 % (1 %, 5 % asked)"
    assert rate_text({"asked": [0.05], "used": 0.05}) == "5 %"
    assert percent(0.0) == "0 %" and percent(0.0034) == "0.3 %" and percent(1e-9) == "0.0 %"
    assert share_text({"share": 0.125, "interval": [0.0, 0.5]}) == "12.5 % (0 to 50)"


def test_tables_hold_every_set_source_and_file() -> None:
    found = answered(toy=measured(rates=(0.001, 0.01, 0.05)))
    alarms, labelled, controls, checked, unchecked, flips, noise = tables(found)
    assert [row[:3] for row in alarms.rows] == [("0.1 %, 1 %", "1 %", 0), ("5 %", "5 %", 0)]
    assert [row[0] for row in labelled.rows] == ["real"] * 2 + ["toy"] * 2
    assert [row[0] for row in controls.rows] == ["control"] * 2
    assert controls.rows[0][3].startswith("0 %") and controls.rows[0][6].startswith("50 %")
    for table in (checked, unchecked):
        assert [row[0] for row in table.rows] == [PACKED, *FILES] and table.columns[1:] == (*MOVES, LOST, CALLED)
        row = next(row for row in table.rows if row[0] == "JPEG 50")
        assert row[1 + MOVES.index(FLIPS[1])] == f"0 / {NUM_FLIPS}" and row[1] == f"{NUM} / {NUM - NUM_FLIPS}"
    assert flips.rows[0][2] == f"0 / {NUM_FLIPS} of {NUM * OTHERS}"
    assert [row[1] for row in noise.rows] == ["0", "0.01"]


def test_answer_can_be_told_again_and_drawn(tmp_path: Path) -> None:
    found = answered(toy=measured(), other=measured(10))
    answer = TELLING.tell("verdicts", found, "a command", {"preset": "toy"})
    assert TELLING.retell(answer) == answer
    realised, *moved = answer.charts
    assert [curve.name for curve in realised.curves] == ["toy", "other", "as promised"] and len(moved) == 2
    assert realised.curves[1].x[0] == 0.01 and realised.curves[1].y[0] == 0.5
    draw_moves(found["sets"], tmp_path / "moves.png")
    assert (tmp_path / "moves.png").stat().st_size > 10_000


def test_sets_are_told_by_their_number_of_groups_and_those_of_other_code_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, groups, code in (("a", 5, "new"), ("b", 50, "new"), ("c", 50, "new"), ("d", 60, "old")):
        alarms = [{"generated": {"n_groups": groups}}]
        write_json(tmp_path / name / "numbers.json", {"false_alarms": alarms, "code": code})
    assert [*load_sets(tmp_path, "new")] == ["b", "c", "a"]
    assert "preset d was measured by other code" in caplog.text
