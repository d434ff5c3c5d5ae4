from pathlib import Path

import pytest

from experiments.answers.answer import Answer, Cell, describe_settings, format_cell
from tests.experiments.sample_answers import make_answer


def test_answer_is_read_as_it_was_written(tmp_path: Path) -> None:
    answer = make_answer()
    path = answer.save(tmp_path)
    assert path == tmp_path / "timestep.json"
    assert Answer.load(path) == answer


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        ("", "–"),
        ("-0.5", "-0.5"),  # texts are their author's
        (1234, "1,234"),
        (-2, "−2"),
        (0.0, "0.000"),
        (0.12349, "0.123"),
        (-1234.5, "−1,234.500"),
        (0.0005, "0.001"),
        (-0.00042, "−0.0004"),
    ],
)
def test_cells_have_one_form(cell: Cell, text: str) -> None:
    assert format_cell(cell) == text


def test_settings_are_texts_with_the_commit_last() -> None:
    settings = {
        **{"git_commit": "abc", "git_dirty": False, "preset": "quick", "seeds": [0, 1], "overrides": ()},
        **{"photographs": {"test": 30, "train": 75}, "guidance": 3.0, "raw": None},
    }
    assert list(describe_settings(settings).items()) == [
        ("preset", "quick"),
        ("seeds", "0, 1"),
        ("overrides", "none"),
        ("photographs", "test 30, train 75"),
        ("guidance", "3"),
        ("raw", "None"),
        ("commit", "abc"),
    ]
    assert describe_settings({"git_commit": "abc", "git_dirty": True}) == {"commit": "abc with changes"}
    assert describe_settings({"git_commit": None}) == {"commit": "unknown"}
