from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from cache_schema import RULES, Fingerprint, create_cache, store_name, write_dataset
from experiments.answers.answer import Answer
from experiments.sources import PICTURE, answer, compare_with_own, describe, score_others, tabulate
from experiments.study.comparisons import MEAN, Scores
from experiments.study.study import Study
from tests.experiments.made_up import make_means
from tests.samples import make_sample, make_shard
from train.scoring.calibration import Calibration
from train.scoring.matrix import ALL, METRICS, add_up
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading

AUROCS = {
    "gan": {"gan": 0.9, "sd": 0.6, "later": 0.5},
    "sd": {"gan": 0.95, "sd": 0.8, "later": 0.6},
    ALL: {"gan": 0.9, "sd": 0.9, "later": 0.7},
}
"""Trained on → tested on. `gan` is found better by a detector of sd; `later` cannot be trained on."""


def make_scores(aurocs: dict[str, dict[str, float]]) -> dict[str, Scores]:
    return {
        row: {c: {"auroc": make_means(v)} for c, v in {MEAN: 0.5, **columns}.items()} for row, columns in aurocs.items()
    }


def make_matrix(aurocs: dict[str, dict[str, float]]) -> dict[str, Any]:
    seeds = {row: {c: [dict.fromkeys(METRICS, v)] * 2 for c, v in columns.items()} for row, columns in aurocs.items()}
    return add_up(seeds)


def make_reading(roundtrip_label: int | None) -> Reading:
    """Two seeds with thresholds 0.5 and 0.7; the round trips score 0.6 and 0.8 under both."""
    rows = [("real", 0, 0.1), ("real", 0, 0.55), ("sd", 1, 0.9), ("sd", 1, 0.3)]
    rows += [("vae-roundtrip-a", roundtrip_label, 0.6), ("vae-roundtrip-a", roundtrip_label, 0.8)]
    sources, labels, scores = zip(*rows, strict=True)
    keys, n = [f"k{i}" for i in range(len(rows))], len(rows)
    values = {"image_source": sources, "label": pa.array(labels, pa.int8()), "subset": ["s"] * n, "key": keys}
    values |= {"group": keys, "split": ["test"] * n, "derived_from": pa.nulls(n, pa.string())}
    table = pa.table({name: values[name] for name in COLUMNS})
    return Reading(table, np.array([scores, scores]), (Calibration(0.5), Calibration(0.7)), is_probability=True)


def test_other_detectors_are_compared_with_the_own_one_where_there_is_one() -> None:
    gaps = compare_with_own(make_scores(AUROCS))
    means = {cell: round(gap.mean, 3) for cell, gap in gaps.items()}
    assert means == {("sd", "gan"): -0.05, (ALL, "gan"): 0, ("gan", "sd"): 0.2, (ALL, "sd"): -0.1}
    untested = {row: {c: v for c, v in columns.items() if c != "gan"} for row, columns in AUROCS.items()}
    assert set(compare_with_own(make_scores(untested))) == {("gan", "sd"), (ALL, "sd")}


def test_real_images_and_controls_are_called_by_each_seeds_threshold() -> None:
    others = score_others(make_reading(None))
    assert list(others) == ["real", "vae-roundtrip-a"]
    real, roundtrip = others.values()
    assert (real["n"], real["is_control"], real["auroc"]) == (2, False, None)
    assert real["called"]["mean"] == 0.25 and real["called"]["sd"] == pytest.approx(0.5 / 2**0.5)
    assert roundtrip["is_control"] and roundtrip["called"]["mean"] == 0.75 and roundtrip["auroc"]["mean"] == 1.0
    as_reals = score_others(make_reading(0))["vae-roundtrip-a"]
    assert not as_reals["is_control"] and as_reals["called"] == roundtrip["called"] and as_reals["auroc"] is None


def test_the_finding_tells_first_where_the_own_detector_is_not_the_best() -> None:
    others = {row: score_others(make_reading(None)) for row in AUROCS}
    text = describe(make_matrix(AUROCS), compare_with_own(make_scores(AUROCS)), others)
    assert "one that was trained on another source: worse than it in 1, better than it in 1 of 2 cases." in text
    assert (
        "Found better than by their own: gan by a detector of sd, −0.050" in text
        and "Not told apart: gan by" not in text
    )
    assert "Where it is better, it is so by up to 0.200 of AUROC." in text
    assert "Mean AUROC on the diagonal 0.850 ±0.000, off it 0.662 ±0.000." in text
    assert "The mean off it includes what no detector was trained on: later." in text
    assert "Worse: on sd, trained on sd than on all together, −0.100" in text
    assert "vae-roundtrip-a, a control, is called generated: 75 % trained on gan, 75 % trained on sd" in text
    assert "AUROC against the real images 1.00, 1.00, 1.00." in text


def test_the_finding_holds_with_one_source_and_with_round_trips_as_the_real_class() -> None:
    one = {"sd": {"sd": 0.8}}
    gaps = compare_with_own(make_scores(one))
    text = describe(make_matrix(one), gaps, {"sd": score_others(make_reading(0))})
    assert gaps == {} and text.startswith("Only one image source can be trained on.\nMean AUROC on the diagonal 0.800")
    assert "off it" not in text and "all together" not in text
    assert text.endswith("vae-roundtrip-a, real images here, is called generated: 75 % trained on sd.")
    real = {"real": score_others(make_reading(0))["real"]}
    assert describe(make_matrix(one), {}, {"sd": real}).endswith("There are no round trips among the test images.")
    unseen = {"gan": {"later": 0.5}, "sd": {"later": 0.6}}
    assert "Mean AUROC off it" in describe(make_matrix(unseen), {}, {"gan": real, "sd": real})
    tables = {table.title for table in tabulate(make_matrix(one), {}, {"sd": real})}
    assert "AUROC" in tables and "Controls: AUROC" not in tables and not any("own detector" in t for t in tables)


def test_tables_have_a_row_a_detector_and_leave_the_own_one_out() -> None:
    others = {row: score_others(make_reading(None)) for row in AUROCS}
    tables = {
        table.title: table for table in tabulate(make_matrix(AUROCS), compare_with_own(make_scores(AUROCS)), others)
    }
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
    assert [row[0] for row in tables["AUROC"].rows] == ["gan", "sd", ALL]
    assert tables["AUROC"].columns[1:] == ("gan", "later", "sd", "mean")
    own = tables["AUROC of the tested source's own detector less that of the row's"]
    assert own.columns[1:] == ("gan", "sd") and own.rows[0][1] is None and own.rows[0][2].startswith("+0.200")
    assert [row[:3] for row in tables["Share called generated"].rows] == [
        ("real", "real images", 2),
        ("vae-roundtrip-a", "a control", 2),
    ]


@pytest.mark.slow
def test_rows_share_the_detector_of_all_sources_and_the_picture_is_there(study: Study, tmp_path: Path) -> None:
    splits, samples = ["train"] * 16 + ["validation"] * 8 + ["test"] * 8, []
    for i, split in enumerate(splits):
        source = "real" if i % 2 == 0 else ("sd v1", "gan")[i // 2 % 2]
        samples.append(make_sample(i, split=split, image_source=source, source_path=f"{source}/{i}.png"))
    dataset = write_dataset(tmp_path / "two", samples, {}, max_rows=8)
    fields = {"method": "lare", "timestep": 200, "ensemble_size": 2, "compute_dtype": "fp32", "image_size": 16}
    fields |= {"stored_dtype": "float32", "mantissa_bits": 23}
    cache = create_cache(tmp_path / "two-caches" / "t200-e2", dataset.dataset_id, Fingerprint(fields | RULES))
    for n, tar in enumerate(dataset.tars):
        cache.write(store_name(tar.name), make_shard(dataset.rows(n), tar, seed=n))
    overrides = (*study.config.fit_overrides, "--trainer.log_every_n_steps=1")  # a row has few batches
    config = replace(study.config, data=dataset.folder, caches=tmp_path / "two-caches", fit_overrides=overrides)
    study = Study(config)
    found = answer(study)
    assert Answer.load(study.write(found)).tables == found.tables
    assert found.numbers["matrix"]["rows"] == ["gan", "sd v1", ALL]
    detectors = study.config.out / "detectors"
    runs = ("full-on-gan-t200-e2", "full-on-sd%20v1-t200-e2", "full-t200-e2")
    assert {folder.name for folder in detectors.iterdir()} == set(runs)
    sources = [yaml.safe_load((detectors / run / "seed-0" / "config.yaml").read_text())["data"] for run in runs]
    assert [each["image_sources"] for each in sources] == [["gan"], ["sd v1"], None]
    assert (study.answers / PICTURE).read_bytes().startswith(b"\x89PNG")
