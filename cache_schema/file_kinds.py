"""What a file is that is no usable image, told without showing any of its bytes: it may be somebody's secret."""

import re

_KINDS: tuple[tuple[bytes, str], ...] = (
    (rb"version https://git-lfs|/annex/objects/", "a pointer of a large-file store"),
    (rb"\s*<(?:!doctype\s+html|html|head|body)\b", "an HTML page"),
    (rb"\s*<\?xml|\s*<svg\b", "XML or SVG"),
    (rb"%PDF-", "a PDF document"),
    (rb"%!PS", "PostScript"),
    (rb"8BPS", "a Photoshop document"),
    (rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|(?s:.{257})ustar", "an archive"),
    (rb"(?s:.{4})ftyp(?:avif|avis)", "an AVIF picture"),
    (rb"(?s:.{4})ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)", "a HEIC picture"),
    (rb"(?s:.{4})ftyp|\x1aE\xdf\xa3", "a video"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (rb"\xff\xd8\xff", "a JPEG by its beginning"),
    (rb"\x89PNG\r\n\x1a\n", "a PNG by its beginning"),
    (rb"RIFF(?s:.{4})WEBP", "a WebP by its beginning"),
    (rb"\x00+\Z", "zeros alone"),
)
"""Beginning of a file → what it is."""
SEEN_BYTES = 1024
_BYTES = re.compile(r"""\bb'(?:[^'\\]|\\.)*'|\bb"(?:[^"\\]|\\.)*\"""")


def file_kind(data: bytes) -> str:
    """What a file is by its beginning, "an HTML page"; "text" or "something else" where nothing more is known."""
    start = data[:SEEN_BYTES]
    for pattern, kind in _KINDS:
        if re.match(pattern, start, re.IGNORECASE):
            return kind
    return "text" if _is_text(start) else "something else"


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # otherwise a character that the end of `start` has cut
            return False
        text = start[: error.start].decode()
    return all(c.isprintable() or c.isspace() for c in text)


def hide_bytes(message: str) -> str:
    """A library's message without the bytes that it quotes as Python writes them."""
    return _BYTES.sub("…", message)
