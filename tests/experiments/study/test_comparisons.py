from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from experiments.answers.readings import MEAN, name_source
from experiments.study.comparisons import score_sources, subtract, summarize
from train.scoring.calibration import Calibration
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading


def make_reading(scores: list[list[float]]) -> Reading:
    """Two reals each of the subsets a and b, a generated image of `gan` in a and two of `sd` in b."""
    rows = [("real", 0, "a"), ("real", 0, "a"), ("real", 0, "b"), ("real", 0, "b")]
    rows += [("gan", 1, "a"), ("sd", 1, "b"), ("sd", 1, "b")]
    sources, labels, subsets = zip(*rows, strict=True)
    keys = [f"k{i}" for i in range(len(rows))]
    values = {"image_source": sources, "label": pa.array(labels, pa.int8()), "subset": subsets, "key": keys}
    values |= {"group": keys, "split": ["test"] * len(rows), "derived_from": pa.nulls(len(rows), pa.string())}
    return Reading(
        pa.table({name: values[name] for name in COLUMNS}), np.array(scores), (Calibration(0.5),) * len(scores), True
    )


GOOD = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8]
"""Both sources are found without a mistake."""
POOR = [0.1, 0.9, 0.3, 0.75, 0.6, 0.7, 0.8]
"""gan is above one of its two reals; of sd's four pairs one is the wrong way round."""


def test_each_source_meets_its_own_reals_and_the_mean_is_theirs() -> None:
    scores = score_sources(make_reading([POOR, GOOD]))
    assert list(scores) == [MEAN, "gan", "sd"]
    assert scores["gan"]["auroc"].seeds.tolist() == [0.5, 1.0]
    assert scores["sd"]["auroc"].seeds.tolist() == [0.75, 1.0]
    assert scores[MEAN]["auroc"].seeds.tolist() == [0.625, 1.0]
    assert summarize(scores)["gan"]["auroc"]["sd"] == pytest.approx(0.5 / 2**0.5)


def test_a_source_called_mean_is_no_mean() -> None:
    reading = make_reading([POOR, GOOD])
    names = ["mean" if name == "gan" else name for name in reading.table["image_source"].to_pylist()]
    place = reading.table.schema.get_field_index("image_source")
    scores = score_sources(replace(reading, table=reading.table.set_column(place, "image_source", [names])))
    assert list(scores) == [MEAN, "“mean”", "sd"]
    assert scores["“mean”"]["auroc"].seeds.tolist() == [0.5, 1.0]
    assert scores[MEAN]["auroc"].seeds.tolist() == [0.625, 1.0]
    names = ["mean", "“mean”", "““mean””", "sd", "all", ""]
    assert len({MEAN, *map(name_source, names)}) == 7 and name_source("sd") == "sd"


def test_differences_are_paired_by_seed() -> None:
    one, other = (score_sources(make_reading(rows)) for rows in ([GOOD, POOR], [POOR, POOR]))
    difference = subtract(one, other)
    assert difference["sd"]["mean"] == 0.125 and difference["sd"]["sd"] == pytest.approx(0.25 / 2**0.5)  # 0.25 and 0
    assert difference[MEAN]["mean"] == pytest.approx(0.375 / 2)
    nothing = subtract(one, one)[MEAN]
    assert (nothing["mean"], nothing["sd"], nothing["n_groups"]) == (0, 0, difference[MEAN]["n_groups"])
