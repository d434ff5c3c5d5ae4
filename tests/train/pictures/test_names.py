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
    block = {"n_generated": 5, "auroc": 0.5, "balanced_accuracy": 0.5}
    probe = ProbeFile(Fingerprint(FIELDS).hexdigest, FIELDS | {"image_size": 64}, DiffusionModelName(name, "v"))
    facts = replace(WHOLE.facts, formats={name: 2})
    card = write_card(
        replace(WHOLE, sources=(name,), test={"sources": {name: block}}, probes=(probe,), facts=facts), has_model=False
    )
    assert name not in card and "\x1b" not in card
    (row,) = (line for line in card.splitlines() if line.endswith("| 5 | 0.500 | 0.500 |"))
    assert row.replace(r"\|", "").count("|") == 5
