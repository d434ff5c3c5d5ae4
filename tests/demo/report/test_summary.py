"""What is decided, by which numbers, whichever way they turn out. The words are free, the numbers in them are not."""

from typing import Any

import pytest

from demo.report.summary import (
    BETTER,
    CHANCE,
    INVERTED,
    Finding,
    against_chance,
    describe_auroc,
    describe_results,
    order_readings,
    three_sentences,
)
from demo.report.table import WIDTH, format_auroc
from train.scoring.titles import TITLES


def row(auroc: float, half_width: float = 0.05) -> dict[str, Any]:
    return {"auroc": auroc, "auroc_interval": [auroc - half_width, auroc + half_width], "n_groups": 11}


def reading(auroc: float, roundtrip: float = 0.5, blurred: float = 0.5) -> dict[str, Any]:
    return {
        "sources": {"fake": row(auroc)},
        "controls": {"vae-roundtrip-a": row(roundtrip), "blurred-real": row(blurred)},
        "mean": {"auroc": auroc},
    }


def results(**readings: dict[str, Any]) -> dict[str, Any]:
    return {"readings": readings, "pairs": {}}


def decided(findings: tuple[Finding, ...]) -> dict[str, tuple[float, ...]]:
    """Name → numbers, each of which the text gives, as a share or with two digits."""
    for finding in findings:
        assert all(f"{n:.2f}" in finding.text or f"{n:.0%}" in finding.text for n in finding.numbers), finding
        assert finding.text.endswith(".") and max(len(s.split()) for s in finding.text.split(". ")) <= 25, finding
    return {finding.name: finding.numbers for finding in findings}


@pytest.mark.parametrize(("auroc", "verdict"), [(0.7, BETTER), (0.52, CHANCE), (0.3, INVERTED)])
def test_against_chance_follows_the_interval(auroc: float, verdict: str) -> None:
    assert against_chance({"a": row(auroc)}) == {"a": verdict}


def test_several_sources_against_chance_are_one_family_of_tests() -> None:
    just, far = row(0.58, 0.07), row(0.7)
    assert against_chance({"just": just}) == {"just": BETTER}
    assert against_chance({"just": just, "far": far}) == {"just": BETTER, "far": BETTER}
    assert against_chance({"just": just, "a": row(0.5), "b": row(0.51)}) == dict.fromkeys(("just", "a", "b"), CHANCE)
    assert against_chance({"just": just, "exact": row(0.6, 0.0)})["exact"] == BETTER


def test_auroc_without_interval() -> None:
    block = {"auroc": 0.7, "auroc_interval": None}
    assert describe_auroc(block) == "0.70"
    assert describe_auroc(row(0.7)) == "0.70 (0.65 to 0.75)"
    assert against_chance({"a": block}) == {"a": CHANCE}


def test_order_readings_puts_unknown_ones_last() -> None:
    assert order_readings(results(other=reading(1), full=reading(1), mean_lare=reading(1))) == [
        *("mean_lare", "full", "other")
    ]


def test_mean_that_controls_share_does_not_mark_a_generated_image() -> None:
    fooled = describe_results(results(mean_lare=reading(0.62, roundtrip=0.5, blurred=0.66))).failed
    assert decided(fooled) == {"low_mean": (0.66, 0.62)}
    assert "blurred-real" in fooled[0].text and "fake" in fooled[0].text and "vae-roundtrip-a" not in fooled[0].text
    assert describe_results(results(mean_lare=reading(0.8))).failed == ()


def test_mean_is_compared_with_gradient_energy() -> None:
    equal = describe_results(results(mean_lare=reading(0.8), gradient_energy=reading(0.79)))
    assert decided(equal.failed) == {"smoothness": (0.79, 0.8)}
    assert describe_results(results(mean_lare=reading(0.8), gradient_energy=reading(0.6))).failed == ()


def test_what_the_map_adds_is_told_against_its_trained_controls_and_without_a_verdict() -> None:
    told = results(full=reading(0.99), image_only=reading(0.8), permuted_maps=reading(0.7))
    (finding,) = describe_results(told).failed
    assert decided([finding]) == {"map_adds": (0.99, 0.7)}
    assert "not known from one seed" in finding.text and "0.99" in finding.text and "0.70" in finding.text
    assert describe_results(results(full=reading(0.99), image_only=reading(0.8))).failed == ()
    assert decided(describe_results(told).shows) == {"detectors": (0.99, 0.8)}
    told["readings"]["constant_map"] = reading(0.6)
    (finding,) = describe_results(told).failed
    assert decided([finding]) == {"map_adds": (0.99, 0.7, 0.6)}
    assert "0.70 when it is trained on permuted maps and 0.60 when it is trained on one constant map" in finding.text


def test_detector_that_sees_the_decoder_is_named() -> None:
    failed = describe_results(results(image_only=reading(1.0, roundtrip=0.97))).failed
    assert decided(failed) == {"controls:image_only": (0.97,)}
    assert "vae-roundtrip-a" in failed[0].text and "blurred-real" not in failed[0].text


def test_pairs_are_told_of_sources_and_not_of_controls() -> None:
    content = results(mean_lare=reading(0.8))
    content["pairs"] = {
        "fake": {"lower_than_photo": 0.75, "lower_than_roundtrip": 0.4, "n": 1200},
        "blurred-real": {"lower_than_photo": 1.0, "lower_than_roundtrip": None, "n": 1200},
    }
    found = describe_results(content)
    assert decided(found.shows) == {"mean_lare:fake": (0.8,), "pairs:fake": (0.75, 0.4)}
    assert "1,200" in found.shows[-1].text
    assert decided(found.failed) == {"pairs": (1.0, 0.75)}
    assert "blurred-real" in found.failed[0].text


def test_shares_of_pairs_are_told_with_their_interval() -> None:
    content = results(mean_lare=reading(0.8))
    pair = {"lower_than_photo": 0.74, "lower_than_photo_interval": [0.6, 0.84], "lower_than_roundtrip": None, "n": 50}
    content["pairs"] = {"fake": pair}
    assert "In 74% (60 to 84) of 50 pairs" in describe_results(content).shows[-1].text


def test_pairs_of_a_control_that_are_rarely_lower_are_not_held_against_the_mean() -> None:
    content = results(mean_lare=reading(0.8))
    content["pairs"] = {
        "fake": {"lower_than_photo": 0.75, "lower_than_roundtrip": None, "n": 100},
        "vae-roundtrip-a": {"lower_than_photo": 0.15, "lower_than_roundtrip": None, "n": 100},
    }
    assert describe_results(content).failed == ()


def test_three_sentences_name_the_best_detector_and_count_the_sources_of_the_mean() -> None:
    content = results(mean_lare=reading(0.8), full=reading(0.9), image_only=reading(0.95))
    detector, mean, limits = three_sentences(content)
    assert "0.95" in detector and "image alone" in detector
    assert "0.80" in mean and "1 of 1" in mean
    assert limits.endswith(".")
    assert three_sentences(results(gradient_energy=reading(0.6))) == [limits]


def test_three_sentences_tell_what_the_best_detector_reaches_with_maps_that_say_nothing() -> None:
    readings = {"full": reading(0.93), "image_only": reading(0.91), "permuted_maps": reading(0.92)}
    readings["constant_map"] = reading(0.89)
    (detector, *_) = three_sentences(results(**readings))
    assert all(value in detector for value in ("0.93", "0.92", "0.89")) and len(detector) <= WIDTH
    readings["image_only"] = reading(0.95)
    assert "0.92" not in three_sentences(results(**readings))[0]


def test_table_has_a_line_a_reading_and_fits_a_terminal() -> None:
    content = results(**{name: reading(0.1 * n + 0.3) for n, name in enumerate(TITLES)})
    for block in content["readings"].values():
        block["sources"] = {s: row(0.625) for s in ("toy-a", "toy-a-img2img", "toy-b", "toy-b-img2img")}
    content["readings"]["full"]["mean"] = None
    head, *lines = format_auroc(content).splitlines()
    assert max(map(len, [head, *lines])) <= WIDTH and len({len(line) for line in [head, *lines]}) == 1
    assert head.split()[-5:] == ["toy-a", "toy-a-img2img", "toy-b", "toy-b-img2img", "mean"]
    assert [line.split()[-5:-1] for line in lines] == [["0.625"] * 4] * len(TITLES)
    assert [line.split()[-1] for line in lines] == ["0.300", "0.400", "0.500", "0.600", "–", "0.800", "0.900"]
