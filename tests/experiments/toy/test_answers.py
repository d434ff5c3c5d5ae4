from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from demo.toy.sources import Making
from experiments.toy.answers import (
    compare_guidances,
    compare_with_roundtrips,
    compute_means,
    decide,
    numbers,
    score_by_setting,
)
from experiments.toy.telling import NOT_SMOOTHER, SMOOTHER, finding, headline, judge_guidance
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
    assert found["toy-a-img2img"]["strength 0.3"]["interval"] == [1.0, 1.0]


def test_means_by_source(pairs: tuple[Reading, Reading, dict[str, Making]]) -> None:
    means = compute_means(pairs[0])
    assert {s: (row["mean"], row["n"]) for s, row in means.items()} == {
        **{"real": (5, 4), "vae-roundtrip-a": (5, 4), "toy-a-img2img": (5, 4), "toy-a": (1, 4)}
    }
    assert means["toy-a-img2img"]["interval"][0] < 5 < means["toy-a-img2img"]["interval"][1]


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
    assert three["mean"] == pytest.approx(9.4) and three["n"] == 20


def share(low: float, high: float) -> dict[str, Any]:
    row = {"n": 10, "lower_than_roundtrip": (low + high) / 2, "interval": [low, high], "smoother_than_roundtrip": 0.5}
    return {"all": row, "strength 0.3": row}


def difference(low: float, high: float) -> dict[str, Any]:
    return {"auroc_difference": (low + high) / 2, "interval": [low, high], "sd": 0.01}


def matched(map_only: float = 0.8, image_only: float = 0.1, permuted: float = 0.1) -> dict[str, Any]:
    """Results of the decoder-matched task; the differences' intervals are 0.1 wide to either side."""
    sources = ("toy-a", "toy-b", "toy-b-img2img")
    blocks = {source: {"auroc": map_only} for source in sources}
    differences = {
        f"full − {name}": {source: difference(value - 0.05, value + 0.05) for source in sources}
        for name, value in (("image_only", image_only), ("full_maps_permuted", permuted))
    }
    reading = {"sources": blocks, "mean": {"auroc": map_only}}
    readings = {name: reading for name in ("map_only", "image_only", "full", "full_maps_permuted")}
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
        ({"toy-a-img2img": share(0.6, 0.7)}, matched(image_only=0.04), [True, True, False, True]),
        ({"toy-a-img2img": share(0.6, 0.7)}, matched(permuted=0.04), [True, True, True, False]),
    ],
)
def test_targets_are_decided_by_the_numbers(pairs: dict, results: dict, met: list[bool]) -> None:
    aims = decide(pairs, results, UNSEEN)
    assert [aim["met"] for aim in aims] == met
    assert [aim["number"] for aim in aims] == ["1", "2", "3a", "3b"]


def test_target_of_the_map_is_about_unseen_sources() -> None:
    results = matched()
    results["differences"]["full − image_only"]["toy-a"] = difference(-0.5, -0.4)
    assert all(aim["met"] for aim in decide({"toy-a-img2img": share(0.6, 0.7)}, results, UNSEEN))
    results["differences"]["full − image_only"]["toy-b"]["sd"] = 0.2  # a seed may show the contrary
    assert not decide({"toy-a-img2img": share(0.6, 0.7)}, results, UNSEEN)[2]["met"]
    results["differences"]["full − image_only"]["toy-b"] |= {"sd": 0.01, "interval": None}  # not defined: shows nothing
    assert not decide({"toy-a-img2img": share(0.6, 0.7)}, results, UNSEEN)[2]["met"]
    assert not decide({"toy-a-img2img": share(0.6, 0.7)}, matched(), [])[2]["met"]


def tell(aims: list[dict[str, Any]], change: tuple[float, float] = (-0.2, -0.1)) -> dict[str, Any]:
    controls = {f"toy-a-guidance-{g}": {"auroc": g / 10} for g in (1, 3, 5)}
    plain = {"readings": {name: {"controls": controls} for name in ("mean_lare", "gradient_energy")}}
    guidance = [{"guidance": g, "change_interval": change} for g in (1.0, 3.0, 5.0)]
    return numbers({"aims": aims, "guidance": guidance}, {"plain": plain, "decoder-matched": matched(0.6)})


@pytest.mark.parametrize(("change", "side"), [((-0.2, -0.1), -1), ((0.1, 0.2), 1), ((-0.1, 0.1), 0)])
def test_change_with_guidance_is_judged_by_its_interval(change: tuple[float, float], side: int) -> None:
    found = tell([], change)
    assert judge_guidance(found["guidance"]) == side
    others = {finding(tell([], each)).splitlines()[-3] for each in ((-0.2, -0.1), (0.1, 0.2), (-0.1, 0.1))}
    assert len(others) == 3
    for reading in ("Mean LaRE", "Gradient energy"):
        line_with(finding(found), reading, "0.10 at guidance 1", "0.30 at guidance 3", "0.50 at guidance 5")


def test_finding_begins_with_what_failed() -> None:
    pairs = {"toy-a-img2img": share(0.6, 0.7)}
    found = tell(decide(pairs, matched(map_only=0.6, permuted=0.0), UNSEEN))
    text = finding(found)
    first = text.splitlines()[0]
    assert "2 of 4" in first and "(2) and (3b)" in first and "(1)" not in first
    assert "2 of 4" in headline(found) and "0.60" in headline(found)
    heads = {aim["number"]: line_with(text, f"({aim['number']}) ", aim["aim"]) for aim in found["aims"]}
    assert {number: "Met" in head for number, head in heads.items()} == {"1": True, "2": False, "3a": True, "3b": False}
    line_with(text, "toy-a-img2img, all", "65 % (60 to 70) of 10 pairs")
    line_with(text, "toy-a-img2img, strength 0.3", "65 % (60 to 70)")
    assert text.count("toy-b: AUROC 0.60 against 0.60, difference +0.000 (−0.050 to +0.050; sd over seeds 0.010)") == 1
    line_with(text, "toy-b: AUROC 0.60 against 0.60, difference +0.100")
    all_met = finding(tell(decide(pairs, matched(), UNSEEN)))
    assert all_met.startswith("4 of 4") and all_met.count("Met") == 4


def test_headline_counts_the_targets() -> None:
    pairs = {"toy-a-img2img": share(0.6, 0.7)}
    met, missed = decide(pairs, matched(), UNSEEN), decide({}, matched(0.6, 0.0, 0.0), UNSEEN)
    heads = [headline(tell(aims)).split(":")[0] for aims in (missed, missed[:2] + met[2:], met)]
    assert len(set(heads)) == 3
