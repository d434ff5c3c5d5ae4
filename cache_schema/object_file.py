"""An object as a file to read: from any place, with a bounded part of it in memory, in few requests."""

import io
from typing import BinaryIO, cast

from cache_schema.object_errors import Address
from cache_schema.object_store import Found, read_range, read_tail

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


class ObjectFile(io.RawIOBase):
    """A file over ranges of an object. An object that is replaced meanwhile is an error, never a mixture.

    Args:
        address: Of the object.
        tail: Its last bytes.
        known: What the service says of it.
    """

    def __init__(self, address: Address, tail: bytes, known: Found) -> None:
        self.name = str(address)
        self._address, self._known = address, known
        self._tail, self._tail_start = tail, known.num_bytes - len(tail)
        self._window, self._window_start = b"", 0
        self._at, self._next_bytes = 0, FIRST_BYTES

    @property
    def version(self) -> str:
        """Of the object that was opened."""
        return self._known.version

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Byte that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte, as files do."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._known.num_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes: as many as asked for, unless the object ends before."""
        end = self._known.num_bytes if size is None or size < 0 else min(self._at + size, self._known.num_bytes)
        parts = []
        while self._at < end:
            part = self._part(end)
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with the next bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read_at(self, num_bytes: int, start: int) -> bytes:
        """Bytes from a place on, by a request of their own; what is read next stays."""
        end = min(start + num_bytes, self._known.num_bytes)
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : end - self._tail_start]
        return read_range(self._address, start, end, self._known.version)

    def _part(self, end: int) -> bytes:
        """Some of the bytes from here on, none of them behind `end`."""
        if self._at >= self._tail_start:
            return self._tail[self._at - self._tail_start : end - self._tail_start]
        at = self._at - self._window_start
        if not 0 <= at < len(self._window):
            self._load_window(end)
            at = 0
        return self._window[at : end - self._window_start]

    def _load_window(self, end: int) -> None:
        goes_on = self._window and self._at == self._window_start + len(self._window)
        self._next_bytes = min(2 * self._next_bytes, MOST_BYTES) if goes_on else FIRST_BYTES
        # What is asked for at once comes in one request, up to the most that is kept.
        num_bytes = max(self._next_bytes, min(end - self._at, MOST_BYTES))
        stop = min(self._at + num_bytes, self._tail_start)
        self._window = read_range(self._address, self._at, stop, self._known.version)
        self._window_start = self._at
