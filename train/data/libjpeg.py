"""What libjpeg says while torchvision decodes is kept from the terminal; all else that is said is passed on.

torchvision's decoder has libjpeg print its warnings to the process's stderr, a line for each damaged file and epoch.
Pillow's decoder drops them.
"""

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_STDERR = 2
_OF_LIBJPEG = re.compile(
    rb"^(?:Corrupt JPEG data: [^\n]*|Premature end of JPEG file|Unsupported marker type 0x[0-9a-f]+|"
    rb"Inconsistent progression sequence in component [^\n]*|Invalid SOS parameters for sequential JPEG|"
    rb"Invalid (?:component|progressive|arithmetic|Huffman)[^\n]*|Application transferred too few scanlines|"
    rb"Unknown Adobe color transform code [^\n]*|Warning: (?:unknown JFIF revision|thumbnail image size)[^\n]*)\n",
    re.MULTILINE,
)
_decoding = threading.Lock()
_terminals: list[int] = []
"""Where stderr leads, while it is exchanged."""


@contextmanager
def libjpeg_kept_quiet() -> Iterator[None]:
    """Take libjpeg's lines out of what is written to stderr meanwhile, by whatever thread.

    Descriptor 2 leads to a file for as long as a picture is decoded. What other threads write there comes out after it.
    Where another thread is inside already, nothing is done: two may not exchange the descriptor at once.
    """
    lock = _decoding
    if not lock.acquire(blocking=False):
        yield
        return
    try:
        with _stderr_in(_scratch_file(os.getpid())):
            yield
    finally:
        lock.release()


@contextmanager
def _stderr_in(scratch: int) -> Iterator[None]:
    try:
        terminal = os.dup(_STDERR)
    except OSError:  # there is no stderr
        yield
        return
    _terminals.append(terminal)
    try:
        os.dup2(scratch, _STDERR)
        yield
    finally:
        os.dup2(terminal, _STDERR)
        _terminals.remove(terminal)
        if said := os.lseek(scratch, 0, os.SEEK_CUR):
            os.lseek(scratch, 0, os.SEEK_SET)
            rest = _OF_LIBJPEG.sub(b"", os.read(scratch, said))
            os.lseek(scratch, 0, os.SEEK_SET)
            os.ftruncate(scratch, 0)
            if rest:
                os.write(terminal, rest)
        os.close(terminal)


@cache
def _scratch_file(_: int) -> int:
    """A file of this process without a name; one that was forked makes its own."""
    if sys.platform == "linux":
        return os.memfd_create("lare-stderr")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _begin_anew() -> None:
    """A process that was forked in the middle of a decoding has the terminal back at once."""
    global _decoding
    _decoding = threading.Lock()
    for terminal in _terminals:
        os.dup2(terminal, _STDERR)


os.register_at_fork(after_in_child=_begin_anew)
