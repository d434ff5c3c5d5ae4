"""Text that strangers chose (keys, sources, attributes, file names), as text: on a line, in a CSV cell, in Markdown.

A name may hold a terminal's escape sequences, marks that turn the direction of writing, a spreadsheet's formula or a
link. Nothing of it acts: it is shown.
"""

import re
import unicodedata

MAX_SHOWN = 300
"""Characters of a name or a reason in a sentence; a longer one loses its middle."""
MAX_SENTENCE = 4000
"""Characters of a line that holds names."""
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a cell begins that a spreadsheet computes, and one that was made harmless."""
_MARKS = re.compile(r"[\\`*\[|~]|(?<![^\W_])_|_(?![^\W_])|^[#>]|^[+-](?=\s)")
_ENTITIES = {"<": "&lt;", "&": "&amp;", "://": "&#58;//", "www.": "www&#46;", "@": "&#64;"}
_ACTIVE = re.compile(r"<|&(?=#?\w+;)|://|www\.|@")


def shown(text: str, limit: int | None = MAX_SHOWN) -> str:
    r"""A text on one line of bounded length, with everything that is invisible written as an escape.

    Control characters, ends of lines, marks of direction and lone surrogates become `\x1b`, `\n`, `\u202e`, `\udcff`.

    Args:
        text: Any text.
        limit: Characters of the result; a longer one loses its middle. None: as many as it takes.
    """
    if limit is not None and len(text) > limit:
        text = _shorten(text, limit)  # before: a text of gigabytes costs nothing
    line = "".join(map(_show, text))
    return line if limit is None or len(line) <= limit else _shorten(line, limit)


def shown_lines(text: str) -> str:
    """As `shown`, but ends of lines and tabs stay: for a text of our own with names in it. No line is shortened."""
    return "".join(c if c in "\n\t" else _show(c) for c in text)


def guard_cell(text: str) -> str:
    r"""A text as a cell of a CSV file: where a spreadsheet would compute it, an apostrophe comes first.

    Such texts begin with `=`, `+`, `-`, `@`, a tab or an end of line, perhaps behind apostrophes. `unguard_cell` gives
    the text back.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguard_cell(cell: str) -> str:
    """The text that `guard_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def as_markdown(text: str) -> str:
    """A plain text on one line of Markdown: no mark, no HTML, no link, no cell's end in it is taken for one."""
    plain = _MARKS.sub(r"\\\g<0>", shown(" ".join(text.split()), None))
    return _ACTIVE.sub(lambda found: _ENTITIES[found[0]], plain)


def _shorten(text: str, limit: int) -> str:
    tail = (limit - 1) // 3
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def _show(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
