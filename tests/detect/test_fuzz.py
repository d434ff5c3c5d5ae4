"""Hostile regressions and journals: each is read as it was written, or one ValueError says why not."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.detail import Detail
from detect.files.journal import Journal
from detect.files.rows import COLUMNS
from tests.hostile import NOT_JSON, REPEATABLE, VALUES, damaged, mutated

DETAIL = json.loads(json.dumps(Detail(0.5, (1.0, -2.0), 0.3, 0.8, 30, 5, "file").to_dict()))
SETTINGS = {"detector": "d", "top": 3}
ROW: Any = dict.fromkeys(COLUMNS) | {"name": "a.png", "verdict": "real"}


@pytest.mark.slow
@REPEATABLE
@given(mutated(DETAIL) | VALUES)
def test_a_hostile_regression_is_read_or_refused(content: Any) -> None:
    try:
        found = Detail.from_dict(content)
    except ValueError as error:
        assert "regression on local detail cannot be read" in str(error)
    else:
        assert Detail.from_dict(found.to_dict()) == found


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("journal") / "answers.part"
    with Journal(path, SETTINGS) as journal:
        journal.write(ROW)
        journal.write(ROW)
        return path.read_bytes()


def read_rows(path: Path) -> list[Any]:
    with Journal(path, SETTINGS) as journal:
        return list(journal.rows())


@pytest.mark.slow
@REPEATABLE
@given(data=st.data())
def test_a_damaged_journal_is_gone_on_with_or_refused(tmp_path: Path, journal: bytes, data: st.DataObject) -> None:
    path = tmp_path / "answers.part"
    path.write_bytes(data.draw(damaged(journal) | NOT_JSON | NOT_JSON.map(lambda line: journal + line + b"\n")))
    try:
        rows = read_rows(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert len(rows) <= 2 and all(tuple(row) == COLUMNS for row in rows)


def test_a_whole_journal_is_read_as_it_was_written(tmp_path: Path, journal: bytes) -> None:
    (tmp_path / "answers.part").write_bytes(journal)
    assert read_rows(tmp_path / "answers.part") == [ROW, ROW]
