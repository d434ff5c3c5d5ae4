"""Files of answers: what is in them, and what a stopped run leaves."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cache_schema import unguard_cell
from detect.files.journal import Journal, check_order
from detect.files.names import unescape_name
from detect.files.results import ROWS_A_GROUP, SCHEMA, check_out, journal_path, open_results
from detect.files.rows import COLUMNS, Row, make_row
from detect.verdict import Answer, ImageFacts, Note
from tests.detect.verdicts import DETECTOR, make_verdict

SETTINGS = {"detector": DETECTOR, "false_alarm_rate": 0.01}
NAMES = ["a, b.jpg", 'c"d.jpg', "e\nf.jpg", os.fsdecode(b"\xff.jpg"), "back\\slash.jpg", "=1+1.jpg"]


def rows(*names: str) -> Iterator[Row]:
    """An answer for each name, every second without a verdict."""
    for i, name in enumerate(names):
        answer = Answer(name, None, "cut short", "unreadable") if i % 2 else Answer(name, make_verdict(i))
        yield make_row(answer, DETECTOR)


def write(out: Path, *names: str, replace: bool = False, **settings: Any) -> None:
    with open_results(str(out), SETTINGS | settings, replace=replace) as results:
        for row in rows(*names):
            results.write(row)
        results.finish()


def read(out: Path) -> list[dict[str, Any]]:
    if out.suffix == ".csv":
        with out.open(encoding="utf-8", newline="") as file:
            return [{name: unguard_cell(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return list(pq.read_table(out).to_pylist())


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_come_back_with_any_name(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"results{suffix}"
    write(out, *NAMES)
    found = read(out)
    assert [tuple(row) for row in found] == [COLUMNS] * len(NAMES)
    assert [unescape_name(row["name"]) for row in found] == NAMES
    first, second = found[:2]
    verdict = make_verdict(0)
    assert float(first["p_real"]) == verdict.p_real and float(first["mean_lare"]) == float(
        verdict.lare.mean(dtype="f8")
    )
    assert (first["verdict"], int(first["width"]), first["status"]) == ("generated", 40, "ok")
    assert (second["error"], second["status"], second["detector"]) == ("cut short", "unreadable", DETECTOR)
    assert not second["verdict"] and not second["width"]
    notes = [{"code": note.code, "text": note.text} for note in verdict.notes]
    assert first["notes"] == (notes if suffix == ".jsonl" else "size")
    assert os.listdir(tmp_path) == [out.name]


def test_a_csv_file_holds_no_formula(tmp_path: Path) -> None:
    names = ["=1+1.jpg", "+1.jpg", "-1.jpg", "@a.jpg", "a.jpg", "'=1.jpg"]
    write(tmp_path / "r.csv", *names)
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        cells = [row["name"] for row in csv.DictReader(file)]
    assert cells == ["'=1+1.jpg", "'+1.jpg", "'-1.jpg", "'@a.jpg", "a.jpg", "''=1.jpg"]


def test_texts_from_files_are_one_clean_line() -> None:
    verdict = make_verdict(notes=(Note("mark", "two\nlines \udcff"),), image=ImageFacts("a", 1, 1, "PNG\n", None))
    row = make_row(Answer("a", verdict), DETECTOR)
    assert row["notes"] == [{"code": "mark", "text": r"two lines \udcff"}] and row["format"] == "PNG"
    assert make_row(Answer("a", None, "what\r\nis\tit"), DETECTOR)["error"] == "what is it"


def test_parquet_says_what_it_depends_on_and_has_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detect.files.results.ROWS_A_GROUP", 2)
    out = tmp_path / "results.parquet"
    write(out, *NAMES[:5])
    metadata = pq.read_metadata(out)
    assert metadata.num_row_groups == 3 and ROWS_A_GROUP > 2
    schema = pq.read_schema(out)
    assert json.loads(schema.metadata[b"detect"]) == SETTINGS and schema.equals(SCHEMA)
    write(tmp_path / "b.parquet", maps=str(tmp_path / "maps"))  # which is handed on without the places of this machine
    assert str(tmp_path).encode() not in (tmp_path / "b.parquet").read_bytes()
    assert tuple(SCHEMA.names) == COLUMNS


def test_a_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    with pytest.raises(RuntimeError), open_results(str(out), SETTINGS, replace=False) as results:
        for row in rows("a", "b"):
            results.write(row)
        raise RuntimeError
    assert os.listdir(tmp_path) == ["results.csv.part"]
    with open_results(str(out), SETTINGS, replace=False) as results:
        assert [row["name"] for row in results.kept()] == ["a", "b"]
        results.write(next(rows("c")))
        results.finish()
    assert [row["name"] for row in read(out)] == ["a", "b", "c"]
    assert os.listdir(tmp_path) == ["results.csv"]


def test_a_stopped_run_without_answers_leaves_nothing(tmp_path: Path) -> None:
    with open_results(str(tmp_path / "results.csv"), SETTINGS, replace=False) as results:
        assert list(results.kept()) == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("num_bytes", [1, 7, 300])
def test_a_cut_last_line_is_dropped(tmp_path: Path, num_bytes: int) -> None:
    part = tmp_path / "results.csv.part"
    with Journal(part, SETTINGS) as journal:
        for row in rows("a", "b", "c"):
            journal.write(row)
    part.write_bytes(part.read_bytes()[:-num_bytes])
    with Journal(part, SETTINGS) as journal:
        assert [row["name"] for row in journal.rows()] == ["a", "b"]
        journal.write(next(rows("d")))
        assert [row["name"] for row in journal.rows()] == ["a", "b", "d"]


def test_a_journal_that_was_cut_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    part = tmp_path / "results.csv.part"
    for cut in (b"", b'{"format_ver', b'{"format_version": 1, "colum'):
        part.write_bytes(cut)
        with Journal(part, SETTINGS) as journal:
            assert list(journal.rows()) == []
            journal.write(next(rows("a")))
            assert [row["name"] for row in journal.rows()] == ["a"]


def test_long_cut_lines_are_found_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / "results.csv.part"
    with Journal(part, SETTINGS) as journal:
        journal.write(next(rows("a")))
    whole = part.read_bytes()
    part.write_bytes(whole + b"x" * 1000)
    monkeypatch.setattr("detect.files.journal.BLOCK_BYTES", 64)
    from detect.files import journal as module

    with part.open("rb+") as file:
        module._cut_last_line(file)
    assert part.read_bytes() == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "e" * 64}, f"detector: {DETECTOR} ≠ {'e' * 64}"),
        ({"false_alarm_rate": 0.05}, "false_alarm_rate: 0.01 ≠ 0.05"),
        ({"strict": True}, "strict: None ≠ True"),
    ],
)
def test_other_settings_are_refused_with_the_difference(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    out = tmp_path / "results.csv"
    with open_results(str(out), SETTINGS, replace=False) as results:
        results.write(next(rows("a")))
    with pytest.raises(ValueError, match="begun with other settings") as refused:
        open_results(str(out), SETTINGS | changes, replace=False)
    assert message in str(refused.value)
    with open_results(str(out), SETTINGS | changes, replace=True) as results:
        assert list(results.kept()) == []


def test_other_columns_are_refused(tmp_path: Path) -> None:
    part = tmp_path / "results.csv.part"
    with Journal(part, SETTINGS) as journal:
        journal.write(next(rows("a")))
    part.write_text(part.read_text().replace('"verdict", ', "", 1))
    with pytest.raises(ValueError, match="columns: "):
        Journal(part, SETTINGS)


@pytest.mark.parametrize("content", [b"name,verdict\na,re", b"a download", b'{"format": 1}\n', b"\0" * 5000, b"\n"])
@pytest.mark.parametrize("replace", [False, True])
def test_files_of_others_are_left_alone(tmp_path: Path, content: bytes, replace: bool) -> None:
    part = tmp_path / "results.csv.part"
    part.write_bytes(content)
    with pytest.raises(ValueError, match="not of this command"):
        Journal(part, SETTINGS, replace=replace)
    assert part.read_bytes() == content


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    part = tmp_path / "results.csv.part"
    with Journal(part, SETTINGS) as journal:
        for row in rows("a", "b", "c"):
            journal.write(row)
    lines = part.read_bytes().splitlines(keepends=True)
    for wrong in (b"{}\n", b"[1]\n", b"3\n", b'{"name": \n', b"\xff\n", b"[" * 100_000 + b"\n"):
        part.write_bytes(b"".join([*lines[:2], wrong, *lines[3:]]))
        with Journal(part, SETTINGS) as journal, pytest.raises(ValueError, match="line 3: no row"):
            list(journal.rows())


def test_two_runs_never_write_one_file(tmp_path: Path) -> None:
    with open_results(str(tmp_path / "a.csv"), SETTINGS, replace=False) as results:
        results.write(next(rows("a")))
        with pytest.raises(ValueError, match="being written by another process"):
            open_results(str(tmp_path / "a.csv"), SETTINGS, replace=True)
        assert [row["name"] for row in results.kept()] == ["a"]


def test_pictures_in_another_order_are_refused() -> None:
    (row,) = rows("a.jpg")
    check_order(row, "a.jpg", 1)
    with pytest.raises(ValueError, match=r"answer 7 of the stopped run is for a\.jpg, but picture 7 is now b\.jpg"):
        check_order(row, "b.jpg", 7)
    with pytest.raises(ValueError, match="there is no such picture now"):
        check_order(row, None, 7)


def test_finished_files_are_refused_or_replaced(tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    write(out, "a")
    with pytest.raises(ValueError, match="exists"):
        check_out(str(out), replace=False)
    check_out(str(out), replace=True)
    with pytest.raises(FileExistsError):  # it came while the work was going on
        write(out, "b")
    with open_results(str(out), SETTINGS, replace=True) as results:
        assert [row["name"] for row in results.kept()] == ["b"]
        results.finish()
    assert [row["name"] for row in read(out)] == ["b"]
    assert not journal_path(out).exists()


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        check_out(str(tmp_path / "folder.csv"), replace=True)
    with pytest.raises(ValueError, match="is no folder"):
        check_out(str(tmp_path / "nowhere" / "results.csv"), replace=False)
    check_out(None, replace=False)
    check_out("-", replace=False)


def test_rows_on_a_pipe_are_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with open_results("-", SETTINGS, replace=False) as results:
        for row in rows(*NAMES):
            results.write(row)
        results.finish()
    lines = capsys.readouterr().out.splitlines()
    assert [unescape_name(json.loads(line)["name"]) for line in lines] == NAMES
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_no_link_is_followed_on_the_way_to_a_file(kind: str, tmp_path: Path) -> None:
    letter, out = tmp_path / "letter", tmp_path / f"a.{kind}"
    letter.write_bytes(b"")  # an empty file looks like a journal that was cut
    journal_path(out).symlink_to(letter)
    with pytest.raises(OSError, match="a symbolic link, which is not followed here"):
        open_results(str(out), SETTINGS, replace=True)
    journal_path(out).unlink()
    out.symlink_to(letter)
    write(out, *NAMES, replace=True)
    assert letter.read_bytes() == b"" and not out.is_symlink() and len(read(out)) == len(NAMES)


def test_a_pipe_in_the_journals_place_is_refused(tmp_path: Path) -> None:
    os.mkfifo(journal_path(tmp_path / "a.csv"))
    with pytest.raises(OSError, match="it is a named pipe: expected a plain file"):
        open_results(str(tmp_path / "a.csv"), SETTINGS, replace=True)
