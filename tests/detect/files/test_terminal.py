"""What a person reads, and what a pipe gets."""

import os
from pathlib import Path

import pytest

from detect.files.names import columns_of
from detect.files.skipped import MAX_KINDS, OTHERS, Skipped
from detect.files.words import HEADER, answer_line, full_answer, meaning_of, plain_line, rarity_of, shorten_end
from detect.verdict import Answer, Note
from tests.detect.verdicts import make_verdict

BROKEN = Answer("holiday/broken.jpg", None, "JPEG cannot be decoded (OSError: image file is truncated)", "unreadable")


def test_a_line_holds_verdict_numbers_name_and_first_note() -> None:
    answer = Answer("holiday/a.jpg", make_verdict())
    line = answer_line(answer, 120, color=False)
    assert line.split()[:5] == ["generated", "97", "%", "0.0050", "holiday/a.jpg"]
    assert line.endswith("The picture is larger than those of the training.")
    assert HEADER.index("picture") == line.index("holiday")
    assert HEADER.index("p_real") + len("p_real") == line.index("0.0050") + len("0.0050")


def test_lines_fit_the_terminal() -> None:
    names = ["a.jpg", "x" * 300, "写真" * 100, "\x1b[31m" * 20, os.fsdecode(b"\xff" * 90)]
    notes = (Note("long", "Very long notes do not fit. " * 20),)
    for name in names:
        for verdict in (make_verdict(notes=notes), make_verdict(probability=None, notes=())):
            for num_columns in (60, 80, 133):
                line = answer_line(Answer(name, verdict), num_columns, color=False)
                assert columns_of(line) <= num_columns and line.isprintable()


def test_colour_says_no_more_than_the_words() -> None:
    for verdict in ("generated", "real", "unsure"):
        answer = Answer("a.jpg", make_verdict(verdict=verdict))
        colored, plain = (answer_line(answer, 100, color=color) for color in (True, False))
        assert colored.startswith("\x1b[") and colored.count("\x1b") == 2
        assert colored.replace("\x1b[0m", "").partition("m")[2] == plain
    assert answer_line(BROKEN, 100, color=False).split()[:2] == ["unreadable", "holiday/broken.jpg"]
    assert "JPEG cannot be decoded" in answer_line(BROKEN, 100, color=False)


def test_pipes_get_fields_between_tabs() -> None:
    line = plain_line(Answer("a\tb.jpg", make_verdict(notes=(Note("size", "s"), Note("mark_c2pa", "m")))))
    assert line.split("\t") == ["generated", "0.97", "0.005", r"a\x09b.jpg", "size mark_c2pa"]
    assert plain_line(Answer("a", make_verdict(probability=None))).split("\t")[1] == ""
    fields = plain_line(Answer("a", None, "two\nlines\tof error", "unreadable")).split("\t")
    assert fields == ["unreadable", "", "", "a", "two lines of error"]


def test_a_full_answer_tells_everything_in_sentences() -> None:
    notes = (Note("size", "The picture is larger."), Note("quality", "It was saved at quality 40."))
    answer = Answer("a.jpg", make_verdict(p_real=1 / 61, false_alarm_rate=1 / 60, notes=notes))
    text = full_answer(answer, 78, color=False, map_path=Path("maps/a.jpg.png"))
    joined = " ".join(text.split())
    assert joined.startswith("a.jpg: generated, P(generated) = 97 %")
    assert "at most 1.67 % are called generated" in joined
    assert "1 in 61 photographs like the validation ones scores as high or higher." in joined
    assert "The picture is larger." in joined and "It was saved at quality 40." in joined
    assert f"{float(answer.verdict.lare.mean()):.4g}" in joined if answer.verdict else False
    assert joined.endswith("Error map, not proof: maps/a.jpg.png")
    assert all(columns_of(line) <= 78 for line in text.splitlines())
    assert "unreadable" in full_answer(BROKEN, 78, color=True)


def test_meanings_promise_no_more_than_is_known() -> None:
    assert "exchangeable with the validation ones" in meaning_of(make_verdict(verdict="generated"))
    assert "no proof" in meaning_of(make_verdict(verdict="real"))
    assert "neither" in meaning_of(make_verdict(verdict="unsure"))


@pytest.mark.parametrize(
    ("p_real", "expected"),
    [
        (1 / 61, "1 in 61 "),
        (1 / 10_001, "1 in 10,001 "),
        (0.1, "1 in 10 "),
        (0.432, "43 in 100 "),
        (1.0, "100 in 100 "),
    ],
)
def test_p_values_in_words(p_real: float, expected: str) -> None:
    assert rarity_of(p_real).startswith(expected)


def test_texts_are_shortened_by_columns() -> None:
    assert shorten_end("a b c", 5) == "a b c"
    assert shorten_end("a b cd", 5) == "a b…"
    assert columns_of(shorten_end("写" * 50, 11)) <= 11


def test_kinds_of_other_files_are_bounded() -> None:
    skipped = Skipped()
    assert str(skipped) == "" and skipped.num == 0
    for i in range(3 * MAX_KINDS):
        assert not skipped.is_picture(f"file.x{i}")
    assert not skipped.is_picture("file." + "y" * 300)
    assert skipped.num == 3 * MAX_KINDS + 1 and len(str(skipped)) < 200 and OTHERS in str(skipped)
