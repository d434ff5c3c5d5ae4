"""The texts that a file carries beside its pixels: of PNG, EXIF and XMP, each within a bound."""

import html
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from cache_schema import walk_chunks
from detect.reading.exif import exif_texts

MAX_TEXT_BYTES = 2**16
"""Of a text, unpacked; what is longer is read to here."""
MAX_PACKET_BYTES = 2**20
"""Of an XMP packet, unpacked."""
MAX_TEXTS, MAX_PACKETS = 100, 4
_PACKET_NAME = "XML:com.adobe.xmp"
_PROPERTIES = ("DigitalSourceType", "CreatorTool", "Credit", "Software", "UserComment", "AIGC", "provenance")
_NAME = rf"\b\w{{1,40}}:({'|'.join(_PROPERTIES)})\b"
_PROPERTY = re.compile(
    rf"{_NAME}(?:\s{{1,20}}rdf:resource)?\s{{0,5}}=\s{{0,5}}(?:\"([^\"<]{{1,4000}})|'([^'<]{{1,4000}}))"
    rf"|<{_NAME}(?:\s[^<>]{{0,200}})?>\s{{0,200}}(?:<rdf:(?:Alt|Seq|Bag)>\s{{0,200}}<rdf:li[^<>]{{0,200}}>)?([^<]{{1,4000}})"
)
"""A property of an XMP packet, as an attribute or an element. No XML parser: entities would unfold without a bound."""


@dataclass(frozen=True)
class Text:
    """A text in a file.

    Attributes:
        place: Where it stands, for a person: "PNG text", "EXIF", "XMP".
        name: What it is called there: "parameters", "Software", "CreatorTool".
        value: At most `MAX_TEXT_BYTES` bytes' worth.
    """

    place: str
    name: str
    value: str


def find_texts(data: bytes) -> Iterator[Text]:
    """All texts of a file, of any format, that can hold a mark."""
    packets = list(_raw_packets(data))
    for name, value in png_texts(data):
        if name == _PACKET_NAME:
            packets += [value] if len(packets) < 2 * MAX_PACKETS else []
        else:
            yield Text("PNG text", name, value)
    for name, value in islice(exif_texts(data), MAX_TEXTS):
        yield Text("EXIF", name, value)
    for packet in packets:
        for match in islice(_PROPERTY.finditer(packet), MAX_TEXTS):
            value = html.unescape(match[2] or match[3] or match[5]).strip()
            if value:
                yield Text("XMP", match[1] or match[4], value)


def png_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Names and texts of a PNG file's chunks tEXt, zTXt and iTXt, unpacked up to a bound; none of another file."""
    count = 0
    for chunk in walk_chunks(data):
        if chunk.name in (b"tEXt", b"zTXt", b"iTXt") and count < MAX_TEXTS:
            count += 1
            # A name has at most 79 bytes, a language tag and a translated name are short.
            name, found, rest = data[chunk.start : min(chunk.end, chunk.start + MAX_PACKET_BYTES)].partition(b"\0")
            if found:
                value = _text_of(
                    chunk.name, rest, MAX_PACKET_BYTES if name == _PACKET_NAME.encode() else MAX_TEXT_BYTES
                )
                yield name[:79].decode("latin-1"), value


def _text_of(kind: bytes, rest: bytes, limit: int) -> str:
    if kind == b"tEXt":
        # The standard says Latin-1; many programs write UTF-8.
        return _decode(rest[:limit])
    if kind == b"zTXt":
        return _decode(_unpack(rest[1:], limit))
    is_packed, parts = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
    value = parts[2] if len(parts) == 3 else b""
    return _decode(_unpack(value, limit) if is_packed else value[:limit])


def _unpack(value: bytes, limit: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(value, limit)
    except zlib.error:
        return b""  # damaged: no text


def _decode(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        is_cut = error.start >= len(value) - 3  # within a character, by our own bound
        return value[: error.start].decode("utf-8") if is_cut else value.decode("latin-1")


def _raw_packets(data: bytes) -> Iterator[str]:
    """XMP packets that lie in the file as they are, whatever its format."""
    at = data.find(b"<rdf:RDF")
    for _ in range(MAX_PACKETS):
        if at < 0:
            return
        end = data.find(b"</rdf:RDF>", at, at + MAX_PACKET_BYTES)
        yield data[at : end if end >= 0 else at + MAX_PACKET_BYTES].decode("utf-8", "replace")
        at = data.find(b"<rdf:RDF", at + 8)
