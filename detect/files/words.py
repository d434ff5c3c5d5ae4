"""Verdicts in words, for a person at a terminal."""

import textwrap
from pathlib import Path

from detect.files.names import columns_of, show_name, show_text, take_columns
from detect.pictures import percent
from detect.verdict import Answer, Verdict

UNREADABLE = "unreadable"
VERDICT_COLUMNS, PERCENT_COLUMNS, P_COLUMNS = 10, 12, 8
HEADER = f"{'verdict':<{VERDICT_COLUMNS}}  {'P(generated)':>{PERCENT_COLUMNS}}  {'p_real':>{P_COLUMNS}}  picture"
MIN_NAME_COLUMNS = 16
_COLOR = {"generated": "\x1b[35m", "real": "\x1b[32m", "unsure": "\x1b[33m", UNREADABLE: "\x1b[90m"}
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def answer_line(answer: Answer, num_columns: int, *, color: bool) -> str:
    """An answer as a line of a table below `HEADER`: the verdict, its numbers, the name, the first note.

    Args:
        answer: Of one picture.
        num_columns: Of the terminal.
        color: Paint the verdict; its word says the same.
    """
    verdict = answer.verdict
    word = UNREADABLE if verdict is None else verdict.verdict
    chance = percent(verdict.probability) if verdict is not None and verdict.probability is not None else ""
    p_real = f"{verdict.p_real:.4f}" if verdict is not None else ""
    start = f"{word:<{VERDICT_COLUMNS}}  {chance:>{PERCENT_COLUMNS}}  {p_real:>{P_COLUMNS}}  "
    remark = answer.error if verdict is None else verdict.notes[0].text if verdict.notes else ""
    room = max(MIN_NAME_COLUMNS, num_columns - len(start))
    name = show_name(answer.name, room if not remark else max(MIN_NAME_COLUMNS, room // 2))
    left = room - columns_of(name) - 2
    line = start + name
    if remark and left >= MIN_NAME_COLUMNS:
        line += "  " + shorten_end(show_text(" ".join(remark.split())), left)
    return f"{_COLOR[word]}{word}{_PLAIN}{line[len(word) :]}" if color else line


def plain_line(answer: Answer) -> str:
    """An answer as five fields with a tab between them: verdict, probability, p_real, name, codes of the notes.

    A picture without a verdict is "unreadable", and the reason stands in place of the codes.
    """
    verdict = answer.verdict
    if verdict is None:
        return "\t".join((UNREADABLE, "", "", show_name(answer.name), show_text(" ".join(answer.error.split()))))
    probability = "" if verdict.probability is None else f"{verdict.probability:.6g}"
    codes = " ".join(note.code for note in verdict.notes)
    return "\t".join((verdict.verdict, probability, f"{verdict.p_real:.6g}", show_name(answer.name), codes))


def full_answer(answer: Answer, num_columns: int, *, color: bool, map_path: Path | None = None) -> str:
    """An answer in sentences, for a person who asked about one picture.

    Args:
        answer: Of the picture.
        num_columns: Of the terminal.
        color: Paint the verdict.
        map_path: Where its error map lies.
    """
    verdict = answer.verdict
    if verdict is None:
        return _wrap(f"{show_name(answer.name)}: {UNREADABLE}. {show_text(answer.error)}", num_columns)
    word = f"{_BOLD}{_COLOR[verdict.verdict]}{verdict.verdict}{_PLAIN}" if color else verdict.verdict
    chance = "" if verdict.probability is None else f", P(generated) = {percent(verdict.probability)}"
    paragraphs = [meaning_of(verdict), rarity_of(verdict.p_real)]
    paragraphs += [f"Note: {show_text(' '.join(note.text.split()))}" for note in verdict.notes]
    paragraphs.append(f"Mean of the error map (LaRE): {float(verdict.lare.mean()):.4g}. {verdict.seconds:.1f} s.")
    if map_path is not None:
        paragraphs.append(f"Error map, not proof: {show_name(str(map_path))}")
    lines = [_wrap(paragraph, num_columns, "  ") for paragraph in paragraphs]
    return "\n".join([f"{show_name(answer.name)}: {word}{chance}", *lines])


def meaning_of(verdict: Verdict) -> str:
    """What a verdict's word means, and no more."""
    if verdict.verdict == "generated":
        return (
            "Generated: for photographs that are exchangeable with the validation ones, at most "
            f"{100 * verdict.false_alarm_rate:.3g} % are called generated."
        )
    if verdict.verdict == "real":
        return "Real: the score lies below the band in which the detector does not decide. This is no proof."
    return "Unsure: the detector does not decide. The picture counts neither as generated nor as real."


def rarity_of(p_real: float) -> str:
    """`p_real` in words: "1 in 61 photographs like the validation ones scores as high or higher."."""
    if p_real <= 0.1:
        return f"1 in {round(1 / p_real):,} photographs like the validation ones scores as high or higher."
    return f"{round(100 * p_real)} in 100 photographs like the validation ones score as high or higher."


def shorten_end(text: str, num_columns: int) -> str:
    """A text up to a number of columns, with "…" where there is more."""
    if columns_of(text) <= num_columns:
        return text
    return take_columns(text, max(0, num_columns - 1)).rstrip() + "…"


def _wrap(text: str, num_columns: int, indent: str = "") -> str:
    return textwrap.fill(
        text,
        max(20, num_columns),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
