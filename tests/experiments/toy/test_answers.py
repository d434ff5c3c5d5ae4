from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from demo.toy.sources import Making
from experiments.study.over_sources import keep_samples
from experiments.toy.answers import (
    compare_guidances,
    compare_with_roundtrips,
    compute_means,
    decide,
    list_gains,
    list_without_roundtrip,
    numbers,
    score_by_setting,
)
from experiments.toy.telling import NOT_SMOOTHER, SMOOTHER, finding, headline, judge_guidance, list_targets
from tests.experiments.made_up import line_with
from train.scoring.scores import Reading

COLUMNS = ("key", "label", "image_source", "subset", "split", "group", "derived_from")


def make_readings(rows: list[tuple]) -> tuple[Reading, Reading, dict[str, Making]]:
    """Rows of (key, label, image source, group, derived from, mean LaRE, gradient energy, making)."""
    keys, labels, sources, groups, derived, lare, energy, makings = zip(*rows, strict=True)
    values = (keys, pa.array(labels, pa.int8()), sources, ["toy-a"] * len(rows), ["test"] * len(rows), groups, derived)
    table = pa.table(dict(zip(COLUMNS, values, strict=True)))
    readings = (Reading(table, -np.array([v], dtype=float), (None,), is_probability=False) for v in (lare, energy))
    return *readings, dict(zip(keys, makings, strict=True))


@pytest.fixture
def pairs() -> tuple[Reading, Reading, dict[str, Making]]:
    """Four photographs with round trips (mean LaRE 5, gradient energy 5) and img2img images of both strengths."""
    rows: list[tuple] = []
    fakes = [(4, 4, 0.3), (4, 6, 0.3), (6, 4, 0.7), (6, 6, 0.7)]
    for i, (lare, energy, strength) in enumerate(fakes):
        making = Making("a photo", strength, 3.0)
        rows.append((f"p{i}", None, "real", f"g{i}", None, 5, 5, Making()))
        rows.append((f"v{i}", 0, "vae-roundtrip-a", f"g{i}", f"p{i}", 5, 5, Making()))
        rows.append((f"f{i}", 1, "toy-a-img2img", f"g{i}", f"p{i}", lare, energy, making))
        rows.append((f"s{i}", 1, "toy-a", f"s{i}", None, 1, 1, Making("a photo of hat", guidance=3.0 + 2 * (i % 2))))
    return make_readings(rows)


def test_shares_against_the_own_round_trip(pairs: tuple[Reading, Reading, dict[str, Making]]) -> None:
    found = compare_with_roundtrips(*pairs)
    assert list(found) == ["toy-a-img2img"]
    shares = {name: (p["n"], p["lower_than_roundtrip"]) for name, p in found["toy-a-img2img"].items()}
    assert shares == {
        "all": (4, 0.5),
        "strength 0.3": (2, 1.0),
        "strength 0.7": (2, 0.0),
        SMOOTHER: (2, 0.5),
        NOT_SMOOTHER: (2, 0.5),
    }
    whole = found["toy-a-img2img"]["all"]
    assert whole["interval"][0] < 0.5 < whole["interval"][1] and whole["smoother_than_roundtrip"] == 0.5
    low, high = found["toy-a-img2img"]["strength 0.3"]["interval"]
    assert low < 0.5 and high == 1.0  # two scenes that agree say little of others
    assert found["toy-a-img2img"]["strength 0.3"]["n_groups"] == 2


def test_images_of_a_model_without_a_decoder_are_left_out_and_named() -> None:
    rows: list[tuple] = []
    for i in range(8):
        rows.append((f"p{i}", 0, "real-d", f"g{i}", f"q{i}", 5, 5, Making()))
        rows.append((f"v{i}", 0, "vae-roundtrip-a", f"g{i}", f"q{i}", 5, 5, Making()))
        rows += [
            (f"{letter}{i}", 1, f"toy-{letter}-img2img", f"g{i}", f"q{i}", 4, 4, Making("a photo", 0.3, 3.0))
            for letter in "ad"
        ]
        rows.append((f"s{i}", 1, "toy-d", f"s{i}", None, 1, 1, Making("a photo of hat", guidance=3.0)))
    lare, energy, makings = make_readings(rows)
    pairs, left_out = compare_with_roundtrips(lare, energy, makings), list_without_roundtrip(lare)
    assert list(pairs) == ["toy-a-img2img"] and left_out == ["toy-d-img2img"]
    target = decide(pairs, left_out, matched())[0]
    assert target["met"] is True
    assert any("toy-d-img2img: not compared, as its model has no decoder" in item for item in target["items"])
    assert not any("toy-d-img2img, " in item for item in target["items"])


def test_one_scene_has_no_interval_and_meets_no_target(pairs: tuple[Reading, Reading, dict[str, Making]]) -> None:
    lare, energy, makings = pairs
    first = np.array(lare.table["group"].to_pylist()) == "g0"
    found = compare_with_roundtrips(keep_samples(lare, first), keep_samples(energy, first), makings)
    part = found["toy-a-img2img"]["all"]
    assert (part["lower_than_roundtrip"], part["interval"], part["n_groups"]) == (1.0, None, 1)
    target = decide(found, [], matched())[0]
    assert target["met"] is False and any("100 % (no interval)" in item for item in target["items"])


def test_means_by_source(pairs: tuple[Reading, Reading, dict[str, Making]]) -> None:
    means = compute_means(pairs[0])
    assert {s: (row["mean"], row["n"]) for s, row in means.items()} == {
        **{"real": (5, 4), "vae-roundtrip-a": (5, 4), "toy-a-img2img": (5, 4), "toy-a": (1, 4)}
    }
    assert means["toy-a-img2img"]["interval"][0] < 5 < means["toy-a-img2img"]["interval"][1]
    assert {source: row["n_groups"] for source, row in means.items()} == dict.fromkeys(means, 4)


def test_scores_by_strength_and_guidance(pairs: tuple[Reading, Reading, dict[str, Making]]) -> None:
    lare, energy, makings = pairs
    found = score_by_setting({"mean_lare": lare, "gradient_energy": energy}, makings)
    # Round trips have 5: the images of strength 0.3 lie below, those of 0.7 above, and controls are left out.
    assert {name: block["auroc"] for name, block in found["mean_lare"].items()} == {
        "toy-a, guidance 3": 1.0,
        "toy-a, guidance 5": 1.0,
        "toy-a-img2img, strength 0.3": 1.0,
        "toy-a-img2img, strength 0.7": 0.0,
    }
    assert found["gradient_energy"]["toy-a-img2img, strength 0.3"]["auroc"] == 0.5
    assert found["mean_lare"]["toy-a-img2img, strength 0.7"]["n_generated"] == 2


def test_guidances_are_compared_on_the_same_noise() -> None:
    rows: list[tuple] = []
    for i in range(20):
        for guidance, change in ((1, 0), (3, -0.1), (5, 0.0)):
            source = f"toy-a-guidance-{guidance}"
            # Shuffled within a source, and far apart between images: only pairs can show the change.
            name = f"{(7 * i + guidance) % 20:02d}"
            rows.append((f"{source}/{name}", None, source, name, None, int(name) + change, 0, Making()))
    one, three, five = compare_guidances(make_readings(rows)[0])
    assert one["change_interval"] == [0, 0] and five["change"] == 0
    assert three["change"] == pytest.approx(-0.1) and three["change_interval"] == pytest.approx([-0.1, -0.1])
    assert three["mean"] == pytest.approx(9.4) and (three["n"], three["n_groups"]) == (20, 20)


def share(low: float, high: float) -> dict[str, Any]:
    row = {"n": 10, "lower_than_roundtrip": (low + high) / 2, "smoother_than_roundtrip": 0.5}
    row |= {"interval": [low, high], "n_groups": 40}
    return {"all": row, "strength 0.3": row}


def difference(mean: float, half_width: float = 0.05, sd: float = 0.01) -> dict[str, Any]:
    return {"auroc_difference": mean, "interval": [mean - half_width, mean + half_width], "n_groups": 500, "sd": sd}


def matched(map_only: float = 0.8, permuted: float = 0.1, constant: float = 0.1) -> dict[str, Any]:
    """Results of the decoder-matched task; the differences' intervals are 0.1 wide to either side."""
    sources = ("toy-a", "toy-b", "toy-b-img2img")
    blocks = {s: {"auroc": map_only, "auroc_interval": [map_only - 0.02, map_only + 0.02]} for s in sources}
    blocks = {source: block | {"auroc_sd": 0.01, "n_groups": 500} for source, block in blocks.items()}
    differences = {
        f"full − {name}": {source: difference(value) for source in sources}
        for name, value in (("permuted_maps", permuted), ("constant_map", constant))
    }
    reading = {"sources": blocks, "mean": {"auroc": map_only}}
    readings = dict.fromkeys(("map_only", "image_only", "full", "permuted_maps", "constant_map"), reading)
    return {"readings": readings, "differences": differences}


UNSEEN = ["toy-b", "toy-b-img2img"]


@pytest.mark.parametrize(
    ("pairs", "results", "met"),
    [
        ({"toy-a-img2img": share(0.6, 0.7)}, matched(), [True, True, True, True]),
        ({"toy-a-img2img": share(0.49, 0.7)}, matched(), [False, True, True, True]),
        ({"toy-a-img2img": share(0.6, 0.7), "toy-b-img2img": share(0.3, 0.4)}, matched(), [False, True, True, True]),
        ({}, matched(), [False, True, True, True]),
        ({"toy-a-img2img": share(0.6, 0.7)}, matched(map_only=0.699), [True, False, True, True]),
        ({"toy-a-img2img": share(0.6, 0.7)}, matched(map_only=0.7), [True, True, True, True]),
        ({"toy-a-img2img": share(0.6, 0.7)}, matched(permuted=0.04), [True, True, False, True]),
        ({"toy-a-img2img": share(0.6, 0.7)}, matched(constant=0.04), [True, True, True, False]),
    ],
)
def test_targets_are_decided_by_the_numbers(pairs: dict, results: dict, met: list[bool]) -> None:
    targets = list_targets(tell(decide(pairs, [], results), results))
    assert [target["met"] for target in targets] == met
    assert [target["number"] for target in targets] == ["1", "2", "3a", "3b"]


def test_target_of_the_map_is_about_unseen_sources_and_needs_five_seeds() -> None:
    results = matched()
    results["differences"]["full − permuted_maps"]["toy-a"] = difference(-0.5)

    def is_met(num_seeds: int = 5, unseen: list[str] = UNSEEN) -> bool | None:
        return list_targets(tell([], results, num_seeds=num_seeds, unseen=unseen))[0]["met"]

    assert is_met() is True and is_met(num_seeds=4) is None and is_met(unseen=[]) is None
    results["differences"]["full − permuted_maps"]["toy-b"]["sd"] = 0.2  # a seed may show the contrary
    assert is_met() is False
    results["differences"]["full − permuted_maps"]["toy-b"] |= {"sd": 0.01, "interval": None}  # shows nothing
    assert is_met() is False


def test_answers_of_earlier_versions_have_no_control_and_leave_the_targets_open() -> None:
    aims = decide({"toy-a-img2img": share(0.6, 0.7)}, [], matched())
    old = [{"number": n, "aim": "an aim", "met": False, "items": ["0.9"]} for n in ("3a", "3b")]
    found = tell([*aims, *old])
    del found["gains"], found["guidance"]["change"], found["guidance"]["n_groups"]
    assert [target["met"] for target in list_targets(found)] == [True, True, None, None]
    assert "2 are open" in headline(found) and judge_guidance(found) == -1
    line_with(finding(found), "targets are open: (3a) and (3b)")


def tell(
    aims: list[dict[str, Any]],
    results: dict[str, Any] | None = None,
    change: tuple[float, float] = (-0.2, -0.1),
    num_seeds: int = 5,
    unseen: list[str] = UNSEEN,
) -> dict[str, Any]:
    here = results or matched(0.6)
    controls = {f"toy-a-guidance-{g}": {"auroc": g / 10} for g in (1, 3, 5)}
    plain = {"readings": {name: {"controls": controls} for name in ("mean_lare", "gradient_energy")}}
    moved = {"change": sum(change) / 2, "change_interval": change, "n_groups": 500}
    guidance = [{"guidance": g, **moved} for g in (1.0, 3.0, 5.0)]
    answers = {"aims": aims, "guidance": guidance, "gains": list_gains(here, unseen, num_seeds)}
    return numbers(answers, {"plain": plain, "decoder-matched": here})


@pytest.mark.parametrize(("change", "side"), [((-0.2, -0.1), -1), ((0.1, 0.2), 1), ((-0.1, 0.1), 0)])
def test_change_with_guidance_is_judged_by_its_interval(change: tuple[float, float], side: int) -> None:
    found = tell([], change=change)
    assert judge_guidance(found) == side
    others = {finding(tell([], change=each)).splitlines()[-3] for each in ((-0.2, -0.1), (0.1, 0.2), (-0.1, 0.1))}
    assert len(others) == 3
    for reading in ("Mean LaRE", "Gradient energy"):
        line_with(finding(found), reading, "0.10 at guidance 1", "0.30 at guidance 3", "0.50 at guidance 5")


def test_finding_begins_with_what_failed() -> None:
    results = matched(map_only=0.6, constant=0.0)
    found = tell(decide({"toy-a-img2img": share(0.6, 0.7)}, [], results), results)
    text = finding(found)
    first = text.splitlines()[0]
    assert "2 of 4 targets are missed" in first and "(2) and (3b)" in first and "(1)" not in first
    assert "2 of 4" in headline(found) and "0.60" in headline(found)
    heads = {target["number"]: line_with(text, f"({target['number']}) ", "Target") for target in list_targets(found)}
    assert {number: "Met" in head for number, head in heads.items()} == {"1": True, "2": False, "3a": True, "3b": False}
    line_with(text, "toy-a-img2img, all", "65 % (60 to 70) of 10 pairs")
    line_with(text, "toy-a-img2img, strength 0.3", "65 % (60 to 70)")
    line_with(text, "toy-b: no significant difference, AUROC 0.60 against 0.60, +0.000 (", "5 seeds")
    line_with(text, "toy-b: significantly better, AUROC 0.60 against 0.60, +0.100")
    all_met = finding(tell(decide({"toy-a-img2img": share(0.6, 0.7)}, [], matched()), matched()))
    assert all_met.startswith("4 of 4 targets are met") and all_met.count("Met") == 4


def test_headline_counts_the_targets() -> None:
    pairs, none = {"toy-a-img2img": share(0.6, 0.7)}, matched(0.6, 0.0, 0.0)
    met, missed = tell(decide(pairs, [], matched()), matched()), tell(decide({}, [], none), none)
    partly = tell(decide({}, [], matched()), matched())
    assert [headline(found).split(":")[0] for found in (missed, partly, met)] == ["No", "Partly", "Yes"]
    assert "1 is open" not in headline(met) and "2 are open" in headline(
        tell(decide(pairs, [], none), none, num_seeds=2)
    )
