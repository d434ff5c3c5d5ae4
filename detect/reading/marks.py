"""The marks that a file carries of how it was made. They are no part of a score: anyone can write or remove them."""

import logging
from collections.abc import Callable, Iterable, Iterator

from detect.reading.c2pa_manifest import STORE, manifest_notes
from detect.reading.generators import generator_note
from detect.reading.quoting import quote
from detect.reading.texts import find_texts
from detect.verdict import Note

MAX_NOTES = 12
_log = logging.getLogger(__name__)


def read_marks(data: bytes) -> tuple[Note, ...]:
    """What a file says of how it was made: by C2PA, IPTC, and the texts of image generators.

    Nothing is fetched from the network, and no text is unpacked beyond a bound. What cannot be read is left out.

    Args:
        data: A whole file, of any format.

    Returns:
        At most `MAX_NOTES` notes, each a sentence on what the file says; () for a file without marks. The codes are
        "mark_c2pa", "mark_source_type", "mark_generator" and "mark_aigc".
    """
    notes = [*_read_all(manifest_notes, data), *_read_all(_text_notes, data)]
    return tuple(dict.fromkeys(notes))[:MAX_NOTES]


def _read_all(read: Callable[[bytes], Iterable[Note]], data: bytes) -> list[Note]:
    notes = []
    try:
        for note in read(data):
            notes.append(note)  # what comes before a fault stays
    except Exception as error:
        # A file's metadata can break any reader, and are no reason to refuse its picture.
        _log.debug("marks that cannot be read: %r", error)
    return notes


def _text_notes(data: bytes) -> Iterator[Note]:
    for text in find_texts(data):
        if text.name == "provenance":
            if text.value.startswith("http") and STORE not in data:
                words = f"points to a C2PA manifest elsewhere, which is not fetched: {quote(text.value)}"
                yield Note("mark_c2pa", f"The file {words}.")
        elif note := generator_note(text):
            yield note
