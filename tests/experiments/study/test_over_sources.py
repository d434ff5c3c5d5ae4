from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from experiments.study.over_sources import compute_means, keep_samples, match_samples
from train.scoring import metrics
from train.scoring.calibration import Calibration
from train.scoring.evaluate import evaluate, select_sources
from train.scoring.scores import Reading
from train.scoring.weighted import METRICS


def make_reading(
    num_seeds: int = 2, num_groups: int = 12, seed: int = 0, thresholds: tuple[float | None, ...] = (0.5, 0.6)
) -> Reading:
    """Two sources, one with reals of its own; scores with ties; a group has an image of each."""
    names = ("real", "one", "two-real", "two")
    rows = [(g, name) for g in range(num_groups) for name in names]
    rng = np.random.default_rng(seed)
    labels = np.array([0 if name.endswith("real") else 1 for _, name in rows])
    scores = np.round((rng.random((num_seeds, len(rows))) + 0.5 * labels) / 1.5, 1)
    table = pa.table(
        {
            "key": [f"{name}/{g}" for g, name in rows],
            "label": labels,
            "image_source": ["real" if name.endswith("real") else name for _, name in rows],
            "subset": ["b" if "two" in name else "a" for _, name in rows],
            "group": [str(g) for g, _ in rows],
        }
    )
    fitted = tuple(None if t is None else Calibration(t) for t in thresholds[:num_seeds])
    return Reading(table, scores, fitted, is_probability=True)


def test_means_are_those_of_the_metrics_over_the_sources() -> None:
    reading = make_reading()
    means = compute_means(reading)
    mean = evaluate({"full": reading})["readings"]["full"]["mean"]
    known = {"accuracy": "accuracy_at_val_threshold", "average_precision": "average_precision", "auroc": "auroc"}
    for name, key in known.items():
        assert means[name].mean == pytest.approx(mean[key], abs=1e-6)
    assert means["auroc"].sd == pytest.approx(mean["auroc_sd"], abs=1e-6)


def test_means_are_computed_without_each_group() -> None:
    reading = make_reading()
    left_out = {name: each.left_out for name, each in compute_means(reading).items()}
    groups = reading.table["group"].to_numpy()
    for i, group in enumerate(np.unique(groups)):
        again = keep_samples(reading, groups != group)
        expected = np.zeros(4)
        for _, chosen, labels in select_sources(again):
            for scores, threshold in zip(again.scores[:, chosen], again.thresholds, strict=True):
                given = torch.from_numpy(scores), torch.from_numpy(labels)
                expected += (
                    metrics.accuracy(*given, threshold),
                    metrics.balanced_accuracy(*given, threshold),
                    metrics.average_precision(*given),
                    metrics.auroc(*given),
                )
        assert [left_out[name][i] for name in METRICS] == pytest.approx(expected / 4, abs=1e-6)


def test_a_class_of_one_group_has_no_interval_and_raises_no_warning() -> None:
    reading = keep_samples(make_reading(), np.arange(2))  # one group with a real and a generated image
    table = reading.table.set_column(4, "group", pa.array(["x", "y"]))
    reading = Reading(table, reading.scores, reading.calibrations, is_probability=True)
    for each in compute_means(reading).values():
        assert (each.interval, each.se, each.n_groups) == (None, None, 1)


def test_a_mean_of_one_source_has_the_interval_of_evaluate() -> None:
    reading = make_reading()
    _, chosen, _ = next(iter(select_sources(reading)))
    part = keep_samples(reading, chosen)
    (block,) = evaluate({"full": part})["readings"]["full"]["sources"].values()
    found = compute_means(part)
    assert found["auroc"].interval == pytest.approx(block["auroc_interval"])
    assert found["average_precision"].interval == pytest.approx(block["average_precision_interval"])
    assert found["auroc"].n_groups == block["n_groups"] == 12


def test_differences_are_paired() -> None:
    reading, other = make_reading(seed=0), make_reading(seed=1)
    means, others = compute_means(reading), compute_means(other)
    nothing = means["auroc"] - compute_means(reading)["auroc"]
    assert (nothing.mean, nothing.sd, nothing.se) == (0, 0, 0)
    low, high = nothing.interval
    assert low == -high and 0 < high < 0.5  # unseen groups may differ
    difference = means["auroc"] - others["auroc"]
    assert difference.mean == pytest.approx(means["auroc"].mean - others["auroc"].mean)
    assert difference.seeds == pytest.approx(means["auroc"].seeds - others["auroc"].seeds)
    single = compute_means(make_reading(num_seeds=1))["auroc"]
    assert single.sd is None and len((means["auroc"] - single).seeds) == 2
    with pytest.raises(ValueError, match="2 and 3 seeds cannot be paired"):
        _ = means["auroc"] - compute_means(make_reading(num_seeds=3, thresholds=(0.5, 0.5, 0.5)))["auroc"]


def test_what_cannot_be_averaged_is_refused() -> None:
    with pytest.raises(ValueError, match="2 image sources and 1 thresholds"):
        compute_means(make_reading(thresholds=(0.5, None)))
    reals = make_reading()
    with pytest.raises(ValueError, match="0 image sources"):
        compute_means(keep_samples(reals, np.array(reals.table["label"].to_pylist()) == 0))


def test_samples_are_matched_by_key() -> None:
    reading = make_reading()
    matched = match_samples(reading, ["two/3", "real/0"])
    assert matched.table["key"].to_pylist() == ["two/3", "real/0"]
    assert matched.scores.tolist() == reading.scores[:, [15, 0]].tolist()
    with pytest.raises(KeyError):
        match_samples(reading, ["two/99"])


def test_means_tell_what_the_rule_needs() -> None:
    reading = make_reading(num_groups=12)
    means = compute_means(reading)["auroc"]
    assert means.describe()["se"] == pytest.approx(np.sqrt(11 * means.left_out.var()))
    assert (means.describe()["n_groups"], means.describe()["num_seeds"]) == (12, 2)
    plain = replace(reading, scores=reading.scores[:1], calibrations=reading.calibrations[:1], is_probability=False)
    alone = compute_means(plain)["auroc"]
    assert alone.num_seeds == 0 and alone.sd is None and alone.se is not None
    assert (means - alone).num_seeds == (alone - means).num_seeds == 2
    assert compute_means(reading, is_trained=False)["auroc"].num_seeds == 0


def test_only_groups_of_labelled_images_count() -> None:
    """Those of controls alone are not left out one by one either."""
    reading = make_reading(num_groups=12)
    labels = [
        None if group in ("0", "1") else label
        for group, label in zip(reading.table["group"].to_pylist(), reading.table["label"].to_pylist(), strict=True)
    ]
    table = reading.table.set_column(
        reading.table.schema.get_field_index("label"), "label", pa.array(labels, pa.int8())
    )
    found = compute_means(replace(reading, table=table))["auroc"]
    assert found.n_groups == len(found.left_out) == 10
