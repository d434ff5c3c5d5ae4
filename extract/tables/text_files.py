"""Text files that people's programs write: UTF-8 with or without a mark, UTF-16 with one, any line ends."""

import codecs
import io
import os
from collections.abc import Iterator

from cache_schema import Place, open_plain

_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def text_lines(src: Place) -> Iterator[str]:
    """Lines with their ends. Bytes that are not UTF-8 stay, as surrogate escapes: a file name need not be UTF-8.

    Raises:
        ValueError: If the file cannot be read, or is no text; the line is named.
    """
    number = 0
    try:
        with open_plain(src) as file:
            encoding = _MARKS.get(file.read(2), "utf-8-sig")
            file.seek(0)
            errors = "strict" if encoding == "utf-16" else "surrogateescape"
            # An object comes by ranges, without a buffer of its own.
            buffered = io.BufferedReader(file) if isinstance(file, io.RawIOBase) else file
            lines = io.TextIOWrapper(buffered, encoding, errors, newline="")
            for number, line in enumerate(lines, 1):
                if "\0" in line:
                    raise ValueError(f"{src}, line {number}: a NUL character, expected text: save the list as UTF-8")
                yield line
    except UnicodeDecodeError as error:
        raise ValueError(f"{src}, line {number + 1}: no UTF-16, which its mark says: save the list as UTF-8") from error
    except OSError as error:
        raise ValueError(f"{src} cannot be read: {error.strerror}") from error


def as_windows_text(text: str) -> str:
    """The text with bytes that are not UTF-8 read as Windows' Latin-1; as it is where that does not read them."""
    try:
        return os.fsencode(text).decode("cp1252") if not _is_utf8(text) else text
    except UnicodeDecodeError:
        return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
