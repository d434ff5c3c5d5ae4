"""Files that are read by position: what all of them do alike."""

import io


class SeekableFile(io.RawIOBase):
    """A file to read, of a known length; a class of a kind of file says how bytes of it are read (`_read_range`).

    Args:
        name: As errors name it.
        num_bytes: Its length.
    """

    def __init__(self, name: str, num_bytes: int) -> None:
        self.name = name
        self._num_bytes, self._at = num_bytes, 0

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
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._num_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes: as many as asked for, unless the file ends before."""
        end = self._num_bytes if size is None or size < 0 else min(self._at + size, self._num_bytes)
        data = self._read_range(self._at, end) if self._at < end else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with the next bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read_range(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end`; there are some, and none lies behind the file's end."""
        raise NotImplementedError
