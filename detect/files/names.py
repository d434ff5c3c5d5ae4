"""Names of pictures as text: in files of answers, on a terminal, and as names of other files."""

import hashlib
import re
import unicodedata

from cache_schema import shown

MAX_STEM_BYTES = 120
"""Of a file that is named after a picture, without its hash and suffix; file systems allow 255 bytes."""
NUM_HASH_DIGITS = 12
_ESCAPED = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")


def escape_name(name: str) -> str:
    r"""A name as one line of valid UTF-8, reversibly.

    Control characters, ends of lines and bytes that are no UTF-8 are written as `\xNN`, a backslash as `\\`.
    """
    return "".join(_escape(character) if _is_escaped(character) else character for character in name)


def unescape_name(text: str) -> str:
    """The name that `escape_name` was given."""
    plain = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else b"\\", _bytes(text))
    return plain.decode("utf-8", "surrogateescape")


def show_name(name: str, num_columns: int | None = None) -> str:
    """A name for a terminal: nothing in it moves the cursor or turns the text; a long one loses its middle.

    Args:
        name: Any name.
        num_columns: Room on the line; None: as much as it takes.
    """
    line = show_text(escape_name(name))
    return line if num_columns is None else shorten_middle(line, num_columns)


def show_text(text: str) -> str:
    """A text for a terminal: nothing in it moves the cursor or turns what stands behind it."""
    return shown(text, None)


def shorten_middle(text: str, num_columns: int) -> str:
    """A text without its middle, where it takes more columns: "holiday/2…/IMG_0017.jpg"; wide characters count two."""
    if columns_of(text) <= num_columns:
        return text
    start = max(0, num_columns - 1) // 3
    head, tail = take_columns(text, start), take_columns(text[::-1], max(0, num_columns - 1 - start))[::-1]
    return f"{head}…{tail}"


def columns_of(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(_width(character) for character in text)


def take_columns(text: str, num_columns: int) -> str:
    """The beginning of a text, as far as it fits."""
    for num, character in enumerate(text):
        num_columns -= _width(character)
        if num_columns < 0:
            return text[:num]
    return text


def file_stem(name: str) -> str:
    """Name of a file for a picture's maps: letters, digits, dots, hyphens and underscores; never a path, never hidden.

    A name of ASCII that is one already stays as it is. Of any other its last part is kept, and a hash of the whole
    name is put behind it, so that two pictures never share a file.

    Args:
        name: The picture's name, whatever is in it.
    """
    base = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in base).strip(".")
    plain = plain.encode()[-MAX_STEM_BYTES:].decode(errors="ignore").lstrip(".-")
    if plain and plain == name and name.isascii():
        return name
    return f"{plain or 'picture'}-{hashlib.sha256(_bytes(name)).hexdigest()[:NUM_HASH_DIGITS]}"


def _is_escaped(character: str) -> bool:
    return character == "\\" or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _escape(character: str) -> str:
    return "\\\\" if character == "\\" else "".join(f"\\x{byte:02x}" for byte in _bytes(character))


def _bytes(text: str) -> bytes:
    """UTF-8, and the bytes of a file name that are none; a program may give other surrogates, which are kept too."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
