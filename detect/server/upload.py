"""The files of a multipart request, read into memory piece by piece, within limits that are checked before each piece.

The form parsers of Starlette and python-multipart write files above 1 MB to the disk and check sizes afterwards. This
one drives python-multipart's parser itself: nothing is written, and a request ends at the first byte that is too many.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detect.server.budget import Share
from detect.server.config import MAX_FILES, ServeConfig
from detect.server.refusals import Refusal

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = b"files"
MAX_HEADER_BYTES = 4096
"""Of one part, all headers together."""
MAX_NAME_CHARS = 255


@dataclass(frozen=True)
class Upload:
    """One file of a request.

    Attributes:
        name: What the client calls it, at most `MAX_NAME_CHARS` characters; nothing is ever opened by it.
        data: The file's bytes.
    """

    name: str
    data: bytes


async def read_uploads(
    headers: Mapping[str, str], chunks: AsyncIterator[bytes], config: ServeConfig, share: Share
) -> list[Upload]:
    """The files of a request.

    Args:
        headers: The request's.
        chunks: Its body.
        config: With the limits.
        share: Is made to cover all bytes that are read.

    Raises:
        Refusal: 400 for a broken body, 413 above the limits, 415 for another kind of body, 422 for no file or another
            field, 503 where other requests hold too many bytes.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    boundary = _find_boundary(headers)
    _check_length(headers, config, share)
    parts = _Parts(config)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        num_bytes = 0
        async for chunk in chunks:
            num_bytes += len(chunk)
            if num_bytes > config.max_request_bytes:
                raise _request_too_large(config)
            share.cover(num_bytes)
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refusal(400, "The multipart body is broken.") from error
    if not parts.is_whole:
        raise Refusal(400, "The multipart body is cut short.")
    if not parts.uploads:
        raise Refusal(422, "There is no picture in the request: send at least one in the field 'files'.")
    return parts.uploads


def _find_boundary(headers: Mapping[str, str]) -> bytes:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise Refusal(415, "The body is no form with files: send multipart/form-data with the field 'files'.")
    if not options.get(b"boundary"):
        raise Refusal(400, "The Content-Type header names no boundary.")
    return options[b"boundary"]


def _check_length(headers: Mapping[str, str], config: ServeConfig, share: Share) -> None:
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        if int(length) > config.max_request_bytes:
            raise _request_too_large(config)
        share.cover(int(length))  # before the first byte: many half-read requests would otherwise end each other


def _request_too_large(config: ServeConfig) -> Refusal:
    return Refusal(413, f"The request is larger than {config.max_request_bytes} bytes: send fewer pictures at a time.")


class _Parts:
    """Collects what the parser finds."""

    def __init__(self, config: ServeConfig) -> None:
        self.uploads: list[Upload] = []
        self.is_whole = False
        self._max_file_bytes = config.max_file_bytes
        self._begin()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value, self._header_bytes = b"", b"", 0
        self._name, self._content = "", bytearray()

    def _count_header(self, num_bytes: int) -> None:
        self._header_bytes += num_bytes
        if self._header_bytes > MAX_HEADER_BYTES:
            raise Refusal(400, "The headers of a part of the multipart body are too long.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if options.get(b"name") != FIELD:
            raise Refusal(422, "The request has another field than 'files': send the pictures in the field 'files'.")
        if len(self.uploads) == MAX_FILES:
            raise Refusal(413, f"The request has more than {MAX_FILES} pictures: send fewer at a time.")
        self._name = options.get(b"filename", b"").decode("utf-8", "replace")[:MAX_NAME_CHARS]

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]
        if len(self._content) > self._max_file_bytes:
            raise Refusal(413, f"A picture is larger than {self._max_file_bytes} bytes.")

    def _end(self) -> None:
        self.uploads.append(Upload(self._name, bytes(self._content)))
        self._content = bytearray()

    def _finish(self) -> None:
        self.is_whole = True
