"""Files that are no images are named by their kind, and none of their bytes is shown."""

import pytest

from cache_schema.file_kinds import SEEN_BYTES, file_kind, hide_bytes
from cache_schema.images import ImageRejected, decode_file


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\n<!DOCTYPE HTML><p>404", "an HTML page"),
        (b"<?xml version='1.0'?><a/>", "XML or SVG"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a pointer of a large-file store"),
        (b"PK\x03\x04rest", "an archive"),
        (b"\0" * 257 + b"ustar", "an archive"),
        (b"\0\0\0\x20ftypavif", "an AVIF picture"),
        (b"\0\0\0\x20ftypheic", "a HEIC picture"),
        (b"\0\0\0\x20ftypisom", "a video"),
        (b"\xff\x0a123", "a JPEG XL picture"),
        (b"\0" * 5000, "zeros alone"),
        ("pässword".encode(), "text"),
        ("ä".encode() * SEEN_BYTES, "text"),
        (b"x" + "ä".encode() * SEEN_BYTES, "text"),
        (b"\x01\xfe\xff", "something else"),
    ],
)
def test_kind_is_told_by_the_beginning(data: bytes, kind: str) -> None:
    assert file_kind(data) == kind
    with pytest.raises(ImageRejected) as error:
        decode_file(data)
    assert kind in error.value.reason or "cannot be decoded" in error.value.reason


def test_bytes_that_a_library_quotes_are_hidden() -> None:
    assert hide_bytes(r"broken PNG file (chunk b'se\'c\xff')") == "broken PNG file (chunk …)"
    assert hide_bytes("""no b"it's" here, but cab'x' stays""") == "no … here, but cab'x' stays"
