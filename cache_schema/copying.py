"""The process that makes a copy, begun by who reads it (`cache_schema.growing`) with ADDRESS, VERSION and BYTES.

A fresh process, as the threads behind requests do not survive a fork. It ends with the process that has begun it. What
it imports are modules of this package by their own names, and none of a library that it does not need.
"""

import os
import sys
import threading

from cache_schema.addresses import ObjectPath, place
from cache_schema.copies import Original, make_copy
from cache_schema.locks import claim
from cache_schema.program import explain


def _end_without_reader() -> None:
    def wait() -> None:
        # Not by sys.stdin, whose lock this thread would hold at the end of the process: Python aborts then.
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    """Make the copy that the arguments name, unless another process is at it."""
    _end_without_reader()
    path = place(sys.argv[1])
    assert isinstance(path, ObjectPath)
    original = Original(path, sys.argv[2], int(sys.argv[3]))
    try:
        with claim(original.lock) as is_ours:
            if is_ours and not original.copy.exists():
                make_copy(original)
    except Exception as error:
        sys.stderr.write(f"{explain(error) or f'{type(error).__name__}: {error}'}\n")
        return 1
    return 0
