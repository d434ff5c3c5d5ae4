"""An object as a file to read: from any place, with a bounded part of it in memory, in few requests."""

from typing import BinaryIO, cast

from cache_schema.object_errors import Address
from cache_schema.object_store import Found, read_range, read_tail
from cache_schema.seekable import SeekableFile

TAIL_BYTES = 2**16
"""Of the end, which comes with the first request: what zip and Parquet files are read from."""
FIRST_BYTES, MOST_BYTES = 2**14, 2**23
"""Read at once: at first, and where one reading follows on the other."""


def open_object(address: Address, tail_bytes: int = TAIL_BYTES) -> BinaryIO:
    """Open an object for reading, with one request.

    Args:
        address: Of the object.
        tail_bytes: Of its end, read now.

    Raises:
        FileNotFoundError: If it is not there.
        StorageError: If the service does not answer, or refuses; later readings raise it too.
    """
    return cast(BinaryIO, ObjectFile(address, *read_tail(address, tail_bytes)))


class ObjectFile(SeekableFile):
    """A file over ranges of an object. An object that is replaced meanwhile is an error, never a mixture.

    Args:
        address: Of the object.
        tail: Its last bytes.
        known: What the service says of it.
    """

    def __init__(self, address: Address, tail: bytes, known: Found) -> None:
        super().__init__(str(address), known.num_bytes)
        self._address, self._known = address, known
        self._tail, self._tail_start = tail, known.num_bytes - len(tail)
        self._window, self._window_start = b"", 0
        self._next_bytes = FIRST_BYTES

    @property
    def version(self) -> str:
        """Of the object that was opened."""
        return self._known.version

    def read_at(self, num_bytes: int, start: int) -> bytes:
        """Bytes from a place on, by a request of their own; what is read next stays."""
        end = min(start + num_bytes, self._num_bytes)
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : end - self._tail_start]
        return read_range(self._address, start, end, self._known.version)

    def _read_range(self, start: int, end: int) -> bytes:
        parts = []
        while start < end:
            part = self._part(start, end)
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _part(self, start: int, end: int) -> bytes:
        """Some of the bytes from `start` on, none of them behind `end`."""
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : end - self._tail_start]
        at = start - self._window_start
        if not 0 <= at < len(self._window):
            self._load_window(start, end)
            at = 0
        return self._window[at : end - self._window_start]

    def _load_window(self, start: int, end: int) -> None:
        goes_on = self._window and start == self._window_start + len(self._window)
        self._next_bytes = min(2 * self._next_bytes, MOST_BYTES) if goes_on else FIRST_BYTES
        # What is asked for at once comes in one request, up to the most that is kept.
        num_bytes = max(self._next_bytes, min(end - start, MOST_BYTES))
        stop = min(start + num_bytes, self._tail_start)
        self._window = read_range(self._address, start, stop, self._known.version)
        self._window_start = start
