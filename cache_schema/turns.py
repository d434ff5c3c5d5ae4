"""The largest pictures are decoded one at a time by all threads and worker processes of a program.

A small file can claim 100 million pixels, and decoding takes up to 16 bytes a pixel: 1.6 GB, times all cores.
"""

import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from typing import IO

LARGE_BYTES = 400_000_000
"""Memory of a decoding above which it waits for its turn: a photograph of 50 million pixels."""
_PLACE = "LARE_DECODING_TURNS"
"""Variable of the environment with the file that worker processes lock: each knows it, however it was started."""
_threads = threading.Lock()
_held: list[IO[bytes]] = []
"""The locked file, while this process has its turn."""


def share_turns() -> None:
    """Have the worker processes that this one starts from now on take turns with each other and with it."""
    if os.path.exists(os.environ.get(_PLACE, "")):
        return
    descriptor, name = tempfile.mkstemp(prefix="lare-turns-")
    os.close(descriptor)
    os.environ[_PLACE] = name
    # At the end of this process, and not of those that are forked from it. Unlike atexit, also of a worker process.
    Finalize(None, _remove, (name,), exitpriority=0)


@contextmanager
def decoding_turn(num_bytes: int) -> Iterator[None]:
    """Held while a picture is decoded: any number of usual ones at once, and one large one.

    Args:
        num_bytes: Memory that the decoding takes.
    """
    if num_bytes <= LARGE_BYTES:
        yield
        return
    with _threads:
        # A lock of a file ends with its process, however that ends; without the file this process's threads take turns.
        with suppress(OSError):
            _held.append(open(os.environ.get(_PLACE, ""), "rb"))  # noqa: SIM115  closed below, or after a fork
            fcntl.flock(_held[-1], fcntl.LOCK_EX)
        try:
            yield
        finally:
            _let_go()


def _let_go() -> None:
    while _held:
        _held.pop().close()


def _begin_anew() -> None:
    """A process that was forked in the middle of a turn has neither the thread nor the turn."""
    global _threads
    _threads = threading.Lock()
    _let_go()  # the other process keeps its lock


os.register_at_fork(after_in_child=_begin_anew)


def _remove(name: str) -> None:
    with suppress(OSError):
        os.unlink(name)
