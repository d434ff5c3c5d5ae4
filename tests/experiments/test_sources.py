from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from cache_schema import RULES, Fingerprint, create_cache, store_name, write_dataset
from experiments.answers.answer import Answer
from experiments.answers.readings import MEAN, name_source
from experiments.answers.rule import Verdict, judge
from experiments.sources import (
    PICTURE,
    answer,
    compare,
    compare_with_own,
    finding,
    headline,
    list_aurocs,
    list_gaps,
    score_others,
    tables,
    work,
)
from experiments.study.comparisons import Scores
from experiments.study.study import Study
from tests.experiments.made_up import as_json, line_with, list_planned, make_means
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
    means = {c: {row: round(gap["mean"], 3) for row, gap in by_row.items()} for c, by_row in gaps.items()}
    assert means == {"gan": {"sd": -0.05, ALL: 0}, "sd": {"gan": 0.2, ALL: -0.1}}
    untested = {row: {c: v for c, v in columns.items() if c != "gan"} for row, columns in AUROCS.items()}
    assert {c: set(by_row) for c, by_row in compare_with_own(make_scores(untested)).items()} == {"sd": {"gan", ALL}}


def test_real_images_and_controls_are_called_by_each_seeds_threshold() -> None:
    others = score_others(make_reading(None))
    assert list(others) == ["real", "vae-roundtrip-a"]
    real, roundtrip = others.values()
    assert (real["n"], real["is_control"], real["auroc"]) == (2, False, None)
    assert real["called"]["mean"] == 0.25 and real["called"]["sd"] == pytest.approx(0.5 / 2**0.5)
    assert roundtrip["is_control"] and roundtrip["called"]["mean"] == 0.75 and roundtrip["auroc"]["mean"] == 1.0
    as_reals = score_others(make_reading(0))["vae-roundtrip-a"]
    assert not as_reals["is_control"] and as_reals["called"] == roundtrip["called"] and as_reals["auroc"] is None


def numbers_of(aurocs: dict[str, dict[str, float]], others: dict[str, Any]) -> dict[str, Any]:
    found = {
        "matrix": make_matrix(aurocs),
        "own_less_other": compare_with_own(make_scores(aurocs)),
        "aurocs": list_aurocs(make_scores(aurocs)),
        "real_images_and_controls": others,
    }
    return as_json(found)


def test_the_finding_tells_first_where_the_own_detector_is_not_the_best() -> None:
    numbers = numbers_of(AUROCS, {row: score_others(make_reading(None)) for row in AUROCS})
    judged = judge(compare(numbers))
    verdicts = {cell: judged[cell] for cell in list_gaps(numbers, of_all=False)}
    assert verdicts == {("sd", "gan"): Verdict.WORSE, ("gan", "sd"): Verdict.BETTER}
    text, head = finding(numbers), headline(numbers)
    assert head.count("1 of 2") == 2 and head in text
    worse, better = (
        line_with(text, "On gan", "of sd", Verdict.WORSE, "−0.050"),
        line_with(text, "On sd", "of gan", "+0.200"),
    )
    assert text.index(worse) < text.index(better) and Verdict.BETTER in better and Verdict.SAME not in worse + better
    line_with(text, "Mean AUROC", "0.850 ±0.000")
    line_with(text, "Mean AUROC", "0.662 ±0.000")
    line_with(text, "later")
    assert judged[ALL, "sd"] is Verdict.WORSE
    line_with(text, "On sd", "of all", Verdict.WORSE, "−0.100")
    line_with(text, "vae-roundtrip-a", "a control", "75 % trained on gan, 75 % trained on sd")
    line_with(text, "vae-roundtrip-a", "a control", "1.00 trained on gan, 1.00 trained on sd, 1.00 trained on all")


def test_the_finding_holds_with_one_source_and_with_round_trips_as_the_real_class() -> None:
    one = {"sd": {"sd": 0.8}}
    numbers = numbers_of(one, {"sd": score_others(make_reading(0))})
    text = finding(numbers)
    assert not any(numbers["own_less_other"].values()) and text.startswith(headline(numbers))
    line_with(text, "Mean AUROC", "0.800")  # no mean of other sources
    assert "of all" not in text and "against" not in text
    assert "real images here" in line_with(text, "vae-roundtrip-a", ": 75 % trained on sd.")
    real = {"real": score_others(make_reading(0))["real"]}
    assert "vae-roundtrip" not in finding(numbers_of(one, {"sd": real}))
    unseen = {"gan": {"later": 0.5}, "sd": {"later": 0.6}}
    line_with(finding(numbers_of(unseen, {"gan": real, "sd": real})), "Mean AUROC", "0.550")
    titles = {table.title for table in tables(numbers_of(one, {"sd": real}))}
    assert "AUROC" in titles and "Controls: AUROC" not in titles and not any("own detector" in t for t in titles)


def test_sources_called_all_and_mean_are_sources() -> None:
    aurocs = {
        "all": {"all": 0.9, "mean": 0.6},
        "mean": {"all": 0.7, "mean": 0.8},
        "all together": {"all": 0.85, "mean": 0.75},
    }
    scores = {
        row: {name_source(c): {"auroc": make_means(v)} for c, v in columns.items()} | {MEAN: {"auroc": make_means(0.1)}}
        for row, columns in aurocs.items()
    }
    own = compare_with_own(scores)
    means = {c: {row: round(gap["mean"], 3) for row, gap in by_row.items()} for c, by_row in own.items()}
    assert means == {"all": {"mean": 0.2, "all together": 0.05}, "mean": {"all": 0.2, "all together": 0.05}}
    others = {row: score_others(make_reading(None)) for row in aurocs}
    numbers = as_json({"together": "all together", "matrix": make_matrix(aurocs), "own_less_other": own})
    numbers["real_images_and_controls"] = others
    assert list(list_gaps(numbers, of_all=False)) == [("mean", "all"), ("all", "mean")]
    assert list(list_gaps(numbers, of_all=True)) == [("all together", "all"), ("all together", "mean")]
    text = finding(numbers)
    assert "a detector of all sources together" in text and "significantly worse in 2 of 2 cases" in headline(numbers)
    (table, *_) = tables(numbers)
    assert table.columns[1:] == ("all", "“mean”", "mean")


def test_a_control_called_like_the_photographs_is_a_control() -> None:
    reading = make_reading(None)
    names = ["real" if name.startswith("vae") else name for name in reading.table["image_source"].to_pylist()]
    place = reading.table.schema.get_field_index("image_source")
    others = score_others(replace(reading, table=reading.table.set_column(place, "image_source", [names])))
    assert {name: (each["n"], each["is_control"]) for name, each in others.items()} == {
        "real": (2, False),
        "real (control)": (2, True),
    }


def test_tables_have_a_row_a_detector_and_leave_the_own_one_out() -> None:
    numbers = numbers_of(AUROCS, {row: score_others(make_reading(None)) for row in AUROCS})
    found = {table.title: table for table in tables(numbers)}
    assert all(len(row) == len(table.columns) for table in found.values() for row in table.rows)
    assert [row[0] for row in found["AUROC"].rows] == ["gan", "sd", ALL]
    assert found["AUROC"].columns[1:] == ("gan", "later", "sd", "mean")
    (own,) = (table for title, table in found.items() if "own detector" in title)
    assert own.columns[1:] == ("gan", "sd") and own.rows[0][1] is None and own.rows[0][2].startswith("+0.200")
    assert [row[:3] for row in found["Share called generated"].rows] == [
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
    assert {folder.name for folder in detectors.iterdir()} == set(runs) == list_planned(work(study))
    sources = [yaml.safe_load((detectors / run / "seed-0" / "config.yaml").read_text())["data"] for run in runs]
    assert [each["image_sources"] for each in sources] == [["gan"], ["sd v1"], None]
    assert (study.answers / PICTURE).read_bytes().startswith(b"\x89PNG")
