"""Pairs of images of one photograph, by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from train.scoring.pairs import choose_roundtrip, compare_pairs, list_roundtrips, match_pairs
from train.scoring.scores import Reading

# (key, image source, derived from, mean LaRE)
ROWS = [
    *(("p0", "real", None, 1.0), ("p1", "real", None, 1.0)),
    *(("a1", "vae-roundtrip-a", "p1", 0.8), ("a0", "vae-roundtrip-a", "p0", 0.8)),
    ("b0", "vae-roundtrip-b", "p0", 0.4),
    *(("fa0", "toy-a-img2img", "p0", 0.6), ("fa1", "toy-a-img2img", "p1", 0.9)),
    *(("fb0", "toy-b-img2img", "p0", 0.6), ("fb1", "toy-b-img2img", "p1", 0.6)),
    *(("x0", "blurred-real", "p0", 0.7), ("s0", "toy-a", None, 0.1), ("l0", "toy-a-img2img", "gone", 0.1)),
]


@pytest.fixture
def reading() -> Reading:
    keys, sources, derived, means = zip(*ROWS, strict=True)
    return make_reading(
        keys, sources, derived, means, [1 if s.startswith("toy") else 0 if s == "real" else None for s in sources]
    )


def make_reading(keys: Any, sources: Any, derived: Any, means: Any, labels: Any) -> Reading:
    groups = [photograph or key for key, photograph in zip(keys, derived, strict=True)]
    columns = {"key": keys, "image_source": sources, "derived_from": derived, "group": groups}
    table = pa.table(columns | {"label": pa.array(labels, pa.int8())})
    return Reading(table, -np.array([means]), (None,), is_probability=False)


def test_each_source_is_compared_with_the_round_trip_through_its_own_autoencoder(reading: Reading) -> None:
    figures = ("lower_than_photo", "lower_than_roundtrip", "n")
    pairs = {name: {figure: pair[figure] for figure in figures} for name, pair in compare_pairs(reading).items()}
    assert pairs == {
        "toy-a-img2img": {"lower_than_photo": 1.0, "lower_than_roundtrip": 0.5, "n": 2},
        # Only one of its photographs has a round trip through b, and that has the lower mean.
        "toy-b-img2img": {"lower_than_photo": 1.0, "lower_than_roundtrip": 0.0, "n": 2},
        "blurred-real": {"lower_than_photo": 1.0, "lower_than_roundtrip": 1.0, "n": 1},
        "vae-roundtrip-a": {"lower_than_photo": 1.0, "lower_than_roundtrip": None, "n": 2},
        "vae-roundtrip-b": {"lower_than_photo": 1.0, "lower_than_roundtrip": None, "n": 1},
    }


def test_a_generator_called_like_a_reconstruction_is_a_generator() -> None:
    rows = [("p0", "real", None, 1.0, 0), ("f0", "sd", "p0", 0.5, 1), ("g0", "vae-roundtrip-gan", "p0", 0.4, 1)]
    reading = make_reading(*zip(*rows, strict=True))
    assert list_roundtrips(reading.table) == []
    pairs = compare_pairs(reading)
    assert pairs["sd"]["lower_than_roundtrip"] is None and pairs["vae-roundtrip-gan"]["lower_than_photo"] == 1.0


def test_matched_positions_are_of_one_photograph(reading: Reading) -> None:
    images, partners = match_pairs(reading.table, "toy-a-img2img", "vae-roundtrip-a")
    keys = reading.table["key"].to_pylist()
    assert [(keys[i], keys[j]) for i, j in zip(images, partners, strict=True)] == [("fa0", "a0"), ("fa1", "a1")]
    assert [len(p) for p in match_pairs(reading.table, "toy-a")] == [0, 0]


def test_round_trip_is_chosen_by_name() -> None:
    names = ["vae-roundtrip-b", "vae-roundtrip-a"]
    assert choose_roundtrip("toy-b-img2img", names, needs_own=True) == "vae-roundtrip-b"
    assert choose_roundtrip("blurred-real", names, needs_own=False) == "vae-roundtrip-a"
    assert choose_roundtrip("toy-d-img2img", names, needs_own=True) is None  # a model without a decoder
    assert choose_roundtrip("sd", ["vae-roundtrip", *names], needs_own=True) == "vae-roundtrip"  # of no model's name
    assert choose_roundtrip("sd", [], needs_own=False) is None


def test_images_of_a_model_without_a_decoder_are_compared_with_no_reconstruction(reading: Reading) -> None:
    """Those of another model say nothing of them; their photograph is compared all the same."""
    table = reading.table.to_pydict()
    names = [name.replace("toy-b-img2img", "toy-d-img2img") for name in table["image_source"]]
    renamed = reading.table.set_column(
        reading.table.schema.get_field_index("image_source"), "image_source", pa.array(names)
    )
    found = compare_pairs(replace(reading, table=renamed))["toy-d-img2img"]
    assert (found["lower_than_roundtrip"], found["lower_than_photo"], found["n"]) == (None, 1.0, 2)


def test_copies_of_a_photograph_are_left_out_and_counted(reading: Reading) -> None:
    hashes = [key if key not in ("fa1", "x0") else {"fa1": "p1", "x0": "p0"}[key] for key, *_ in ROWS]
    told = replace(reading, table=reading.table.append_column("sha256", pa.array(hashes)))
    plain, pairs = compare_pairs(reading), compare_pairs(told)
    assert (plain["toy-a-img2img"]["n"], plain["toy-a-img2img"]["n_copies"]) == (2, 0)
    assert (pairs["toy-a-img2img"]["n"], pairs["toy-a-img2img"]["n_copies"]) == (1, 1)
    assert pairs["toy-a-img2img"]["lower_than_roundtrip"] == 1.0 != plain["toy-a-img2img"]["lower_than_roundtrip"]
    alone = pairs["blurred-real"]
    assert (alone["n"], alone["n_copies"], alone["n_groups"], alone["lower_than_photo"]) == (0, 1, 0, None)
    assert pairs["toy-b-img2img"] == plain["toy-b-img2img"]
