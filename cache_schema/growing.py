"""Reading copies of objects: once they are whole, or from their start while a process of its own still makes them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self, cast

from cache_schema.copies import Original, find_copy, make_copy
from cache_schema.errors import StorageError
from cache_schema.locks import claim
from cache_schema.object_clients import is_usable_here
from cache_schema.plain_files import open_plain
from cache_schema.seekable import SeekableFile

POLL_SEC = 0.02
NUM_MAKERS = 2
"""Processes that copy ahead of a reader."""
MOST_KILLED = 5
"""Times that a process which copies is begun again after a signal has ended it, for want of memory, perhaps."""
TO_THE_END_BYTES = 2**20
"""A reader that has come so near to the end lets the copy become whole."""
CLAIM_AFTER_SEC = 1.0
"""Nothing new for so long: perhaps the process that copies was killed."""
COPYING = """\
import sys, types
package = types.ModuleType("cache_schema")
package.__path__ = [sys.argv.pop(1)]
sys.modules["cache_schema"] = package
from cache_schema.copying import main
sys.exit(main())
"""
"""What such a process runs: `cache_schema.copying` without what its package loads. zarr and pyarrow would take a second
of a core for each copy, and this takes a tenth."""


def open_copy(original: Original) -> BinaryIO:
    """A copy, opened once it is whole; it is made if it is not there.

    Raises:
        FileNotFoundError: If there is no such object.
        StorageError: If the service does not answer or refuses, or there is no room.
    """
    while (file := find_copy(original)) is None:
        if is_usable_here():
            with claim(original.lock) as is_ours:
                if is_ours and not original.copy.exists():
                    make_copy(original)
                    continue
        else:
            with GrowingFile(original) as growing:
                growing.wait(original.num_bytes)
            continue
        time.sleep(POLL_SEC)
    return file


@contextmanager
def temporary_link(original: Original) -> Iterator[Path]:
    """A path of a copy, which stays while the copy itself may go; errors are those of `open_copy`."""
    with open_copy(original) as file:
        yield Path(f"/dev/fd/{file.fileno()}")


class GrowingFile(SeekableFile):
    """A copy that can be read from its start while a process of its own still makes it.

    For processes that may not ask object storage themselves, and for reading that begins before the end has come.

    Args:
        original: What is copied.

    Raises:
        StorageError: When it is read, if the service does not answer or refuses, or there is no room.
    """

    def __init__(self, original: Original) -> None:
        super().__init__(str(original.path), original.num_bytes)
        self._original = original
        self._file: BinaryIO | None = find_copy(original)
        self._is_whole = self._file is not None
        self._maker: subprocess.Popen[bytes] | None = None
        self._num_killed = 0

    def _read_range(self, start: int, end: int) -> bytes:
        return os.pread(self.wait(end).fileno(), end - start, start)

    def wait(self, end: int) -> BinaryIO:
        """The file, once it has its bytes up to `end`."""
        seen, since = -1, time.monotonic()
        while True:
            if self._file is None:
                self._open()
            size = 0 if self._file is None else os.fstat(self._file.fileno()).st_size
            if self._file is not None and (self._is_whole or size >= end):
                return self._file
            if size != seen:
                seen, since = size, time.monotonic()
            self._keep_making(time.monotonic() - since > CLAIM_AFTER_SEC or size <= 0)
            time.sleep(POLL_SEC)

    def _open(self) -> None:
        self._file = find_copy(self._original)
        self._is_whole = self._file is not None
        if self._file is None:
            with suppress(FileNotFoundError):
                self._file = open_plain(self._original.part)

    def _keep_making(self, is_idle: bool) -> None:
        """See that somebody makes the copy: another process, or one of ours."""
        if self._maker is not None and self._maker.poll() is not None:
            maker, self._maker = self._maker, None
            assert maker.stderr is not None
            text = maker.stderr.read().decode(errors="replace").strip()
            _release(maker)
            if maker.returncode < 0 and self._num_killed < MOST_KILLED:
                self._num_killed += 1
            elif maker.returncode:
                raise StorageError(text or f"{self.name}: the process that copies it ended with {maker.returncode}")
            self._reopen()
        elif self._maker is None and is_idle:
            with claim(self._original.lock) as nobody_works:
                pass
            if nobody_works:
                self._reopen()
                if not self._is_whole:
                    self._maker = _start(self._original)

    def _reopen(self) -> None:
        """Look anew: the part that was open may have been removed, or the copy be whole."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._open()

    def close(self) -> None:
        """Close the file; the process that makes the copy ends."""
        if self._maker is not None:
            there = 0 if self._file is None else os.fstat(self._file.fileno()).st_size
            # All but the name may be there; and a tar's last bytes say nothing, so that nobody reads them.
            if self._original.num_bytes - max(self._at, there) < TO_THE_END_BYTES:
                self._maker.wait()
            _release(self._maker)
            self._maker = None
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()


def open_growing(original: Original) -> BinaryIO:
    """A copy as a file that is read from its start, whether or not it is whole already; errors are `GrowingFile`'s."""
    return cast(BinaryIO, GrowingFile(original))


class Ahead:
    """Copies that processes of their own make ahead of a reader, which goes through objects in a known order.

    What fails here is left to the reader, who finds it out and tells it.

    Args:
        originals: In the order in which they are read.
        num_ahead: Of them that may be made before the reader is there.
    """

    def __init__(self, originals: Sequence[Original], num_ahead: int) -> None:
        self._originals, self._num_ahead = originals, num_ahead
        self._next = 0
        self._makers: list[subprocess.Popen[bytes]] = []

    def reach(self, position: int) -> None:
        """Tell where the reader is; what it will need next is begun."""
        for maker in [maker for maker in self._makers if maker.poll() is not None]:
            self._makers.remove(maker)
            _release(maker)
        self._next = max(self._next, position + 1)
        last = min(len(self._originals), position + 1 + self._num_ahead)
        while self._next < last and len(self._makers) < NUM_MAKERS:
            if not self._originals[self._next].copy.exists():
                self._makers.append(_start(self._originals[self._next]))
            self._next += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is being made; its part stays for the reader."""
        for maker in self._makers:
            _release(maker)
        self._makers.clear()


def _release(maker: "subprocess.Popen[bytes]") -> None:
    """End a process that makes a copy, if it has not ended."""
    assert maker.stdin is not None and maker.stderr is not None
    maker.stdin.close()  # it ends without one
    maker.wait()
    maker.stderr.close()


def _start(original: Original) -> subprocess.Popen[bytes]:
    """A process that makes a copy: a fresh one, as the requests' threads do not survive a fork."""
    package = Path(__file__).resolve().parent
    arguments = [str(package), str(original.path), original.version, str(original.num_bytes)]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    # -P: what lies in the current folder is never taken for a library.
    command = [sys.executable, "-P", "-c", COPYING, *arguments]
    return subprocess.Popen(command, **pipes)  # type: ignore[call-overload,no-any-return]
