"""Words of a file, made fit to stand in a sentence of ours."""

import unicodedata

MAX_QUOTED = 80


def quote(text: str, limit: int = MAX_QUOTED) -> str:
    """At most `limit` characters of foreign text in quotation marks, on one line, with nothing invisible in it.

    Control characters and marks that turn the direction of writing (Unicode categories C and Z) become spaces or go.
    """
    head = text[: 4 * limit]
    shown = "".join(" " if c.isspace() else c for c in head if c.isspace() or unicodedata.category(c)[0] not in "CZ")
    words = " ".join(shown.replace('"', "'").split())
    return f'"{words if len(words) <= limit else words[: limit - 1] + "…"}"'
