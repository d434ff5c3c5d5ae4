from typing import Any

import pytest

from demo.report.summary import (
    against_chance,
    describe_auroc,
    describe_in_a_paragraph,
    describe_results,
    order_readings,
)


def row(auroc: float, half_width: float = 0.05) -> dict[str, Any]:
    return {"auroc": auroc, "auroc_interval": [auroc - half_width, auroc + half_width]}


def reading(auroc: float, roundtrip: float = 0.5, blurred: float = 0.5) -> dict[str, Any]:
    return {
        "sources": {"fake": row(auroc)},
        "controls": {"vae-roundtrip-a": row(roundtrip), "blurred-real": row(blurred)},
        "mean": {"auroc": auroc},
    }


def results(**readings: dict[str, Any]) -> dict[str, Any]:
    return {"readings": readings, "pairs": {}}


@pytest.mark.parametrize(
    ("auroc", "text"), [(0.7, "better than chance"), (0.52, "not to be told from chance"), (0.3, "turned round")]
)
def test_against_chance_follows_the_interval(auroc: float, text: str) -> None:
    assert against_chance(row(auroc)).startswith(text)


def test_auroc_without_interval() -> None:
    block = {"auroc": 0.7, "auroc_interval": None}
    assert describe_auroc(block) == "0.70"
    assert against_chance(block) == "not to be told from chance"


def test_order_readings_puts_unknown_ones_last() -> None:
    assert order_readings(results(other=reading(1), full=reading(1), mean_lare=reading(1))) == [
        *("mean_lare", "full", "other")
    ]


def test_mean_that_controls_share_is_said_not_to_mean_generated() -> None:
    fooled = describe_results(results(mean_lare=reading(0.62, roundtrip=0.5, blurred=0.66)))
    assert fooled["does_not"] == [
        "that a low mean means “generated”: photographs that no diffusion model has made score no worse than fake "
        "(0.62), blurred-real with 0.66."
    ]
    assert describe_results(results(mean_lare=reading(0.8)))["does_not"] == []


def test_mean_is_compared_with_gradient_energy() -> None:
    text = describe_results(results(mean_lare=reading(0.8), gradient_energy=reading(0.79)))["does_not"]
    assert len(text) == 1 and "gradient energy, a measure of smoothness, separates fake with 0.79" in text[0]
    assert describe_results(results(mean_lare=reading(0.8), gradient_energy=reading(0.6)))["does_not"] == []


def test_detector_is_asked_whether_it_uses_its_inputs() -> None:
    unused = results(full=reading(0.99), image_only=reading(0.99), full_maps_permuted=reading(0.98))
    text = describe_results(unused)["does_not"]
    assert [clause.split(":")[0] for clause in text] == [
        "that the map adds to the image",
        "that the detector with both inputs looks at the map",
    ]
    used = results(full=reading(0.99), image_only=reading(0.8), full_maps_permuted=reading(0.7))
    assert describe_results(used) == {
        "shows": [
            "A trained detector reaches, averaged over the sources, an AUROC of 0.99 from image and map and 0.80 from "
            "the image."
        ],
        "does_not": [],
    }


def test_detector_that_sees_the_decoder_is_named() -> None:
    text = describe_results(results(image_only=reading(1.0, roundtrip=0.97)))["does_not"]
    assert len(text) == 1 and text[0].endswith("controls from photographs, vae-roundtrip-a with 0.97.")


def test_pairs_are_told_of_sources_and_not_of_controls() -> None:
    content = results(mean_lare=reading(0.8))
    content["pairs"] = {
        "fake": {"lower_than_photo": 0.75, "lower_than_roundtrip": 0.4, "n": 1200},
        "blurred-real": {"lower_than_photo": 1.0, "lower_than_roundtrip": None, "n": 1200},
    }
    shows = describe_results(content)["shows"]
    assert shows[-1] == (
        "fake has a lower mean than the photograph that it was made from in 75%, and a lower one than that photograph "
        "merely passed through the autoencoder in 40% of 1,200 pairs."
    )
    paragraph = describe_in_a_paragraph(content)
    assert all(sentence in paragraph for sentence in shows)
    assert paragraph.endswith(
        " The numbers do not show that a lower mean than its own photograph marks a generated image: controls have it "
        "no less often, blurred-real in 100% of pairs."
    )


def test_pairs_of_a_control_that_are_rarely_lower_are_not_held_against_the_mean() -> None:
    content = results(mean_lare=reading(0.8))
    content["pairs"] = {
        "fake": {"lower_than_photo": 0.75, "lower_than_roundtrip": None, "n": 100},
        "vae-roundtrip-a": {"lower_than_photo": 0.15, "lower_than_roundtrip": None, "n": 100},
    }
    assert describe_results(content)["does_not"] == []
