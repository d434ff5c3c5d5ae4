import dataclasses
from pathlib import Path

import pytest

from experiments.answers.answer import Answer
from experiments.questions import QUESTIONS, load_telling
from experiments.report import KEPT
from experiments.toy.telling import NAME, TELLING


@pytest.mark.parametrize("name", [NAME, *QUESTIONS])
def test_kept_answers_are_told_as_their_question_would_tell_them_today(name: str) -> None:
    kept = Answer.load(KEPT / f"{name}.json")
    telling = TELLING if name == NAME else load_telling(name)
    untold = dataclasses.replace(kept, question="", headline="", finding="", limits="")
    assert telling.retell(untold) == kept
    assert len(kept.headline.split()) <= 30 and kept.headline.endswith(".")


def test_numbers_are_those_of_a_file_before_they_are_in_one(tmp_path: Path) -> None:
    told = TELLING.tell("name", {"aims": [], "map_only_auroc": 0.5, "guidance": GUIDANCE}, "make", {"seeds": 1})
    assert Answer.load(told.save(tmp_path)) == told and told.numbers["guidance"]["change_interval"] == [-0.2, -0.1]


GUIDANCE = {"guidances": (1.0,), "change_interval": (-0.2, -0.1), "auroc": {}}
