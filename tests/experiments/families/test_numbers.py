from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from experiments.families.numbers import (
    ALL,
    choose_single,
    compare_stack,
    compare_sweep,
    compute_aurocs,
    compute_matrix,
    name_columns,
    place_under,
    subtract,
)
from tests.experiments.made_up import make_mean_lare
from train.scoring.scores import Reading

COLUMNS = {"toy-a": "a", "toy-a-img2img": "a", "toy-c": "c"}


def make_reading(of_a: float, of_c: float) -> Reading:
    """Mean LaRE of four photographs, 1 to 4, of two images of each kind, and of a control.

    Args:
        of_a: Mean LaRE of the images of model A.
        of_c: Of those of model C.
    """
    rows: list[tuple] = [(f"p{i}", 0, "real", f"g{i}", None, 1.0 + i) for i in range(4)]
    for source, value in (("toy-a", of_a), ("toy-a-img2img", of_a), ("toy-c", of_c)):
        rows += [(f"{source}-{i}", 1, source, f"g{i}", f"p{i}", value) for i in range(2)]
    return make_mean_lare([*rows, ("v0", None, "vae-roundtrip-a", "g0", "p0", 0.0)])


def detector(reading: Reading, *seeds: float) -> Reading:
    """A detector with the same scores up to a factor for each seed; a negative one inverts it."""
    scores = 0.5 + 0.01 * reading.scores * np.array(seeds)[:, None]
    return replace(reading, scores=scores, calibrations=(None,) * len(seeds), is_probability=True)


def test_sources_of_a_model_are_scored_together_and_controls_are_left_out() -> None:
    named = name_columns(make_reading(0.5, 2.5), COLUMNS)
    sources = named.table["image_source"].to_pylist()
    assert sources == ["real"] * 4 + ["a"] * 4 + ["c"] * 2 and named.scores.shape == (1, 10)
    aurocs = compute_aurocs(named)
    means = {name: value["mean"] for name, value in aurocs.items()}
    assert means == pytest.approx({"a": 1.0, "c": 0.5, ALL: 5 / 6})
    for value in aurocs.values():
        assert value["num_seeds"] == 0 and value["sd"] is None and value["n_groups"] == 2
        assert value["interval"][0] <= value["mean"] <= value["interval"][1]


def test_labels_of_another_task_are_found_by_key_in_any_order() -> None:
    reading = make_reading(0.5, 2.5)
    labels = [None if row["image_source"] == "real" else row["label"] for row in reading.table.to_pylist()]
    labels[-1] = 0  # the VAE reconstruction
    index = reading.table.set_column(1, "label", pa.array(labels, pa.int8())).take([10, *range(9, -1, -1)])
    matched = place_under(reading, index)
    assert matched.table["key"] == reading.table["key"] and np.array_equal(matched.scores, reading.scores)
    assert matched.table["label"].to_pylist() == labels
    assert compute_aurocs(name_columns(matched, COLUMNS))["a"]["mean"] == 0.0  # its mean LaRE is 0
    with pytest.raises(KeyError):
        place_under(reading, index.slice(1))


def test_matrix_has_every_probe_and_own_less_other() -> None:
    probes = {"a": make_reading(0.5, 2.5), "c": make_reading(2.5, 0.5)}
    found = compute_matrix({name: name_columns(reading, COLUMNS) for name, reading in probes.items()})
    means = {p: {s: value["mean"] for s, value in row.items()} for p, row in found["matrix"].items()}
    assert set(means) == {"a", "c"}
    assert means["a"] == pytest.approx({"a": 1.0, "c": 0.5, ALL: 5 / 6})
    assert means["c"] == pytest.approx({"a": 0.5, "c": 1.0, ALL: 2 / 3})
    gaps = {own: {p: gap["mean"] for p, gap in others.items()} for own, others in found["own_less_other"].items()}
    assert gaps == {"a": {"c": 0.5}, "c": {"a": 0.5}}


def test_differences_count_the_seeds_of_detectors() -> None:
    one, other = (name_columns(make_reading(*values), COLUMNS) for values in ((0.5, 2.5), (2.5, 2.5)))
    assert subtract(one, other)["a"]["num_seeds"] == 0
    trained = subtract(detector(one, 1.0, -1.0), detector(other, 1.0, 1.0))
    assert trained["a"]["num_seeds"] == 2 and trained["a"]["mean"] == 0.0
    assert trained["a"]["sd"] == pytest.approx(np.std([0.5, -0.5], ddof=1))


def test_sweep_compares_both_probes_in_each_task() -> None:
    readings = {"a": make_reading(2.5, 2.5), "c": make_reading(0.5, 0.5)}
    found = compare_sweep({"plain": {name: name_columns(reading, COLUMNS) for name, reading in readings.items()}})
    assert {name: value["mean"] for name, value in found["c_less_a"]["plain"].items()} == {"a": 0.5, "c": 0.5, ALL: 0.5}
    assert found["aurocs"]["plain"]["c"][ALL]["mean"] == 1.0


def test_single_probe_is_chosen_by_validation_images_of_the_model_trained_on() -> None:
    validation = {"a": (2.5, 0.5), "c": (1.5, 4.5), "ac": (0.5, 0.5)}  # c is the worst on images of c
    named = {name: name_columns(make_reading(*values), COLUMNS) for name, values in validation.items()}
    chosen = choose_single(named, "ac", "a")
    assert chosen == {"together": "ac", "chosen": "c", "validation": {"a": 0.5, "c": 0.75, "ac": 1.0}}
    found = compare_stack(named, "ac", "c")
    assert {name: value["mean"] for name, value in found["together_less_chosen"].items()} == {
        **{"a": 0.25, "c": 1.0, ALL: 0.5}
    }
    assert set(found["aurocs"]) == set(validation)
