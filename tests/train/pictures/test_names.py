"""Names that strangers gave to image sources are shown as they are: on charts, and in model cards."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Fingerprint
from tests.train.test_fuzz import FIELDS, WHOLE
from train.card import write_card
from train.detector_file import DiffusionModelName, ProbeFile
from train.pictures.charts import ScoredSource
from train.pictures.draw import draw_matrix
from train.pictures.plots import styled_figure
from train.scoring.calibration import Calibration

NAMES = ["$\\frac{", "$x^2$", "a\nb", "_hidden", "\x1b[2J", "x" * 500]


def test_a_name_is_no_formula_and_no_second_line(tmp_path: Path) -> None:
    cells = [[{"mean": 0.9, "sd": None}] * len(NAMES)] * len(NAMES)
    values = {"cells": cells, "row_means": cells[0], "diagonal": None, "off_diagonal": None}
    matrix = {"rows": NAMES, "columns": NAMES, "metrics": {"auroc": values}, "settings": {"seeds": 1}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that the font lacks is one
        draw_matrix(matrix, tmp_path / "matrix.png")
        with styled_figure(tmp_path / "a.png", "$\\frac{ \x1b", 9, 6) as figure:
            axes = figure.subplots()
            titles = [ScoredSource(name, False, np.zeros((1, 1)), np.zeros(1, np.int64)).title for name in NAMES]
            for title in titles:
                axes.plot([0, 1], label=title)
            axes.legend()
            assert [text.get_text() for text in axes.get_legend().get_texts()] == titles
    assert titles[:5] == ["$\\frac{", "$x^2$", r"a\nb", " _hidden", r"\x1b[2J"] and len(titles[5]) == 60


@pytest.mark.parametrize("name", ["a|b", "<img src=x>", "[x](https://e)", "a\n# b", "`c`", "\x1b[2J"])
def test_a_name_in_a_model_card_is_text(name: str) -> None:
    block = {"n_generated": 5, "n_groups": 40, "auroc": 0.5, "balanced_accuracy_at_val_threshold": 0.5}
    probe = ProbeFile(Fingerprint(FIELDS).hexdigest, FIELDS | {"image_size": 64}, DiffusionModelName(name, "v"))
    facts = replace(WHOLE.facts, formats={name: 2})
    card = write_card(
        replace(WHOLE, sources=(name,), test={"sources": {name: block}}, probes=(probe,), facts=facts), has_model=False
    )
    assert name not in card and "\x1b" not in card
    (row,) = (line for line in card.splitlines() if line.endswith("| 5 | 40 | 0.500 | 0.500 |"))
    assert row.replace(r"\|", "").count("|") == 6


def test_a_model_card_tells_intervals_groups_controls_and_the_temperature() -> None:
    auroc = {"n_generated": 5, "n_groups": 14, "auroc": 0.9, "auroc_interval": [0.7, 0.97]}
    source = auroc | {"balanced_accuracy_at_val_threshold": 0.8, "share_called_generated": 0.75}
    control = auroc | {"balanced_accuracy_at_val_threshold": None, "share_called_generated": 0.25}
    calibration = Calibration(0.5, 1.0, (), (0.31, 0.31))
    probe = ProbeFile(Fingerprint(FIELDS).hexdigest, FIELDS | {"image_size": 64}, DiffusionModelName("model", "v"))
    whole = replace(WHOLE, probes=(probe,))
    described = replace(whole, calibration=calibration, test={"sources": {"sd": source}, "controls": {"blur": control}})
    card = write_card(described, has_model=False)
    assert "| sd | 5 | 14 | 0.900 (0.700 to 0.970) | 0.800 |" in card
    assert "| blur | 5 | 14 | 0.900 (0.700 to 0.970) | 0.250 |" in card
    assert "Few groups: 14" in card
    assert "0.310 before, 0.310 after" in card and (calibration.limit or "") in card
    older = {"n_generated": 5, "auroc": 0.9, "auroc_interval": [0.85, 0.95], "balanced_accuracy": 0.8}
    card = write_card(replace(whole, test={"sources": {"sd": older}, "controls": {"blur": older}}), has_model=False)
    assert "| sd | 5 |  | 0.900 |  |" in card  # its interval and accuracy are of another kind
    assert "blur" not in card and "Few groups" not in card
