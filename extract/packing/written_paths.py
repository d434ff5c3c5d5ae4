"""Which file a list means by a path: the one as written, or where there is none the one of another reading."""

import os
import unicodedata
from collections.abc import Callable

from cache_schema import ObjectPath, Place
from extract.packing.layouts import path_below
from extract.tables.text_files import as_windows_text


def find_path(root: Place, text: str) -> str:
    r"""Path below the root of the file that a list names, relative to the root or absolute.

    Where there is no such file, and one whose path has no spaces around it, `/` for `\`, the home folder for `~`,
    characters of Windows' Latin-1 for bytes that are not UTF-8, or composed or decomposed accents: that one.

    Raises:
        ValueError: If it is not below the root, no path at all, or several files may be meant.
    """
    if not _is_odd(text) or _is_there(root, text):
        return path_below(root, text)
    readings = [text]
    for read in _READINGS:
        readings += [other for other in map(read, readings) if other not in readings]
    files = [reading for reading in readings if _is_file(root, reading)]
    if len(files) > 1:
        raise ValueError(f"{text!r} may mean {' or '.join(map(repr, files))}: expected the path of one file as it is")
    return path_below(root, files[0] if files else text)


def _is_odd(text: str) -> bool:
    return not text.isascii() or text != text.strip() or "\\" in text or text.startswith("~/")


def _is_there(root: Place, text: str) -> bool:
    return _is_file(root, text) if isinstance(root, ObjectPath) else os.path.lexists(root / text)


def _is_file(root: Place, text: str) -> bool:
    try:
        return (root / (path_below(root, text) if isinstance(root, ObjectPath) else text)).is_file()
    except (OSError, ValueError):  # too long, or no path at all
        return False


def _normal(form: str) -> Callable[[str], str]:
    return lambda text: unicodedata.normalize(form, text)  # type: ignore[arg-type]


_READINGS: tuple[Callable[[str], str], ...] = (
    str.strip,
    lambda text: text.replace("\\", "/"),
    lambda text: os.path.expanduser(text) if text.startswith("~/") else text,
    as_windows_text,
    _normal("NFC"),
    _normal("NFD"),
)
