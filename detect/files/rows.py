"""One flat row an answer: what files of answers hold."""

from typing import Any

from detect.files.names import escape_name
from detect.verdict import Answer

COLUMNS = (
    *("name", "verdict", "probability", "score", "p_real", "false_alarm_rate", "notes", "mean_lare"),
    *("sha256", "width", "height", "format", "jpeg_quality", "error", "status", "detector", "seconds"),
)

Row = dict[str, Any]
"""Column → a plain value; None where there is none. `notes` is a list of `{"code", "text"}`."""


def make_row(answer: Answer, detector: str) -> Row:
    """An answer as a row with all `COLUMNS`.

    Args:
        answer: With a verdict or without.
        detector: Its identity.
    """
    row: Row = {**dict.fromkeys(COLUMNS), "name": escape_name(answer.name), "notes": []}
    if answer.verdict is not None:
        told = answer.verdict.to_dict()
        row |= {column: value for column, value in {**told.pop("image"), **told}.items() if column in row}
        row["notes"] = [{name: _clean(text) for name, text in note.items()} for note in row["notes"]]
        row["format"] = _clean(row["format"])
    return row | {"error": _clean(answer.error), "status": answer.status, "detector": detector}


def join_codes(row: Row) -> str:
    """The codes of a row's notes, as tables hold them: "size mark_c2pa"."""
    return " ".join(note["code"] for note in row["notes"])


def _clean(text: str) -> str:
    """A text as one line of valid UTF-8: it may quote what stood in a hostile file."""
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
