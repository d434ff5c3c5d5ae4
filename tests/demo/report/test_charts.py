"""Captions say what the numbers say, whichever way they turn out."""

import re

import numpy as np
import pyarrow as pa
import pytest

from demo.report.certain import describe_agreement
from demo.report.charts import describe_control, describe_reliability, describe_scores, describe_source
from train.pictures.cases import Case
from train.pictures.charts import Probabilities, score_sources
from train.scoring.calibration import Calibration
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading
from workflow.figures import draw_svg


def make_row(auroc: float, low: float, high: float) -> dict:
    numbers = {"tpr_at_fpr_5": 0.6, "average_precision": 0.7, "n_real": 100, "n_generated": 300}
    return {"auroc": auroc, "auroc_interval": [low, high], **numbers}


def test_caption_of_a_source_names_the_highest_curve_or_says_that_none_is_above_guessing() -> None:
    rows = {"mean": make_row(0.6, 0.55, 0.65), "detector": make_row(0.9, 0.8, 0.95)}
    text = describe_source(rows)
    assert "mean" not in text and re.findall(r"detector|\d[\d.]*\d", text)[:4] == ["detector", "0.90", "0.80", "0.95"]
    assert all(number in text for number in ("60%", "0.70", "0.75")) and "significantly above chance" not in text
    rows["detector"] = make_row(0.9, 0.45, 0.95)
    assert describe_source(rows).startswith("No curve is significantly above chance. The highest is detector")
    rows["detector"]["auroc_interval"] = None
    assert describe_source(rows).startswith("No curve is significantly above chance")


def test_caption_of_a_control_counts_curves_below_chance_too() -> None:
    rows = {"mean": make_row(0.2, 0.1, 0.3), "detector": make_row(0.6, 0.45, 0.65)}
    assert describe_control(rows).startswith("Farthest from chance: mean, AUROC 0.20 (0.10 to 0.30).")
    rows["mean"] = make_row(0.45, 0.4, 0.55)
    assert describe_control(rows).startswith("No curve differs significantly from chance. The farthest is detector")


def make_reading(threshold: float | None) -> Reading:
    columns = {
        "label": [0, 0, 0, 0, 1, 1, None, None],
        "image_source": ["real"] * 4 + ["fake"] * 2 + ["blurred"] * 2,
        "subset": ["s"] * 8,
    }
    table = pa.table({name: columns.get(name, [str(i) for i in range(8)]) for name in COLUMNS})
    scores = np.array([[-4.0, -3, -2, -1, -2, -1, -3, -1]])
    return Reading(table, scores, (None if threshold is None else Calibration(threshold),), False)


@pytest.mark.parametrize(
    ("threshold", "text"),
    [
        (
            -1.5,
            "Above the threshold (−1.500) lie 25% of the photographs, 50% of fake. Of the controls, 50% of blurred lie "
            "above the threshold.",
        ),
        (-9, "The threshold (−9.000) lies below all scores: every image is called generated."),
        (0.5, "The threshold (0.500) lies above all scores: no image is called generated."),
        (None, "No threshold was chosen."),
    ],
)
def test_caption_of_scores_tells_what_lies_above_the_threshold(threshold: float | None, text: str) -> None:
    reading = make_reading(threshold)
    assert describe_scores(reading, score_sources(reading)) == text


def test_caption_of_reliability_tells_whether_the_temperature_helps() -> None:
    scores, labels = np.array([[0.2, 0.6]]), np.array([0, 1])
    raw = Probabilities([], scores, labels, [0.1])
    alone = describe_reliability([raw])
    assert re.findall(r"\d\.\d+", alone) == ["0.40", "0.50", "0.100"] and "No temperature" in alone
    helped = describe_reliability([raw, Probabilities([2.0], np.array([[0.3, 0.7]]), labels, [0.05])])
    losses = [-np.mean(np.log(each)) for each in ((0.8, 0.6), (0.7, 0.7))]
    figures = ["0.40", "0.50", "2.00", "0.100", "0.050", *(f"{loss:.3f}" for loss in losses)]
    assert re.findall(r"\d\.\d+", helped) == figures
    assert "too certain" in helped and " lowers " in helped
    spoiled = describe_reliability([raw, Probabilities([1.5], scores, labels, [0.2])])
    assert "1.50 does not lower" in spoiled
    assert "the temperature is 1" in describe_reliability([raw, Probabilities([1.0], scores, labels, [0.1])])


@pytest.mark.parametrize(
    ("lare", "text"),
    [
        ([0, 4, 0, 4], "Attention is higher where the error is high. Over the cells of these images"),
        ([4, 0, 4, 0], "Attention is higher where the error is low."),
        ([0, 0.1, 1, 1], "Attention hardly depends on the error."),
        ([1, 1, 1, 1], ""),
    ],
)
def test_caption_of_attention_tells_whether_it_follows_the_map(lare: list[float], text: str) -> None:
    image, attention = np.zeros((8, 8, 3), np.uint8), np.array([[0.5, 1.5, 0.5, 1.5]], np.float32)
    found = describe_agreement([Case("k", "toy", 0.5, image, np.array([lare] * 2, np.float32), attention)])
    assert found.startswith(text)
    assert bool(found) == bool(text)


def test_there_is_no_caption_of_attention_where_map_and_image_do_not_match() -> None:
    image, values = np.zeros((8, 8, 3), np.uint8), np.array([[0.5, 1.5]], np.float32)
    assert describe_agreement([Case("k", "toy", 0.5, image, values, None)]) == ""
    assert describe_agreement([Case("k", "toy", 0.5, image, values, values, is_aligned=False)]) == ""


def test_labels_of_charts_are_escaped() -> None:
    svg = draw_svg('ROC of "a<b"', 2, 2, lambda figure: figure.subplots())
    assert svg.startswith('<svg role="img" aria-label="ROC of &quot;a&lt;b&quot;" ')
