"""Annotation files: a path and a label a line. Packing and the import of maps read them alike."""

from collections.abc import Iterator

from cache_schema import Place
from extract.tables.labels import EXPECTED_LABEL, parse_label
from extract.tables.text_files import text_lines


def read_annotation_lines(src: Place) -> Iterator[tuple[str, str, int]]:
    """Lines that are not empty: place ("line 3"), path as written, label.

    Path and label are separated by the last tab; without tabs by the last space, or else the last comma or semicolon.

    Raises:
        ValueError: If a line has another form; it is named.
    """
    for number, line in enumerate(text_lines(src), 1):
        if not (text := line.rstrip()):
            continue
        for separator in ("\t",) if "\t" in text else (None, ",", ";"):
            path, label = _divide(text, separator)
            if label is not None and path:
                yield f"line {number}", path, label
                break
        else:
            raise ValueError(
                f"{src}, line {number}: expected a path, a tab or space, and the label {EXPECTED_LABEL}, found "
                f"{text!r}. A table with a header needs a name that ends in .csv"
            )


def _divide(text: str, separator: str | None) -> tuple[str, int | None]:
    parts = text.rsplit(separator, 1)
    try:
        return (parts[0].strip(), parse_label(parts[1])) if len(parts) == 2 else ("", None)
    except ValueError:
        return "", None
