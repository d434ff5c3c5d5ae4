"""What libtiff says of a picture while it is decoded, heard instead of printed.

Pillow asks libtiff for all compressed TIFFs. libtiff prints its errors to the process's stderr, and of damage in fax
coding it says so there alone: Pillow returns pixels as if all were well.
"""

import ctypes
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import _imaging

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 200
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
"""libtiff's TIFFErrorHandler: module, format of printf, va_list. Every ABI hands a va_list over as one pointer."""
_heard = threading.local()
_others: list[Any] = []
"""The handler that was set before ours."""


@contextmanager
def libtiff_damage() -> Iterator[list[str]]:
    """Keep libtiff from printing its errors in this thread.

    A handler of libtiff's own is used, not another file behind descriptor 2: that would take away what all other
    threads of the process print meanwhile. libtiff calls it in the thread that decodes; what it says in threads that
    are not inside of this context goes where it went before.

    Yields:
        A list that will hold the first error of a decoder, "Fax4Decode: Bad code word at line 5 of strip 0 (x 1).";
        errors of tags are metadata, and are dropped.
    """
    _listen()
    outer, _heard.errors = getattr(_heard, "errors", None), []
    try:
        yield _heard.errors
    finally:
        _heard.errors = outer


def _listen() -> None:
    """Set our handler, at every use: another library may have set its own since."""
    if (set_handler := _setter()) is None:
        return
    before = set_handler(_on_error)
    if before != ctypes.cast(_on_error, ctypes.c_void_p).value:
        _others[:] = [] if before is None else [ctypes.cast(before, _HANDLER)]


@cache
def _setter() -> Any:
    """Libtiff's function that sets the handler; None where Pillow was built so that it cannot be reached."""
    try:
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):
        logger.warning(
            "Pillow's libtiff cannot be listened to: damage in fax-coded TIFFs is not noticed. "
            "Pillow's own wheels for Linux and macOS have a libtiff that can."
        )
        return None
    set_handler.argtypes, set_handler.restype = [_HANDLER], ctypes.c_void_p
    return set_handler


def _hear(module: bytes | None, words: bytes, arguments: int) -> None:
    # The module of what is said of pixels is a function of a decoder: Fax3Decode1D, Fax4Decode, PackBitsDecode, …
    errors = getattr(_heard, "errors", None)
    if errors is None:
        for other in _others:
            other(module, words, arguments)
    elif not errors and b"Decode" in (module or b""):  # one says enough; a hostile file has one a line
        errors.append(_format(module, words, arguments))


_on_error = _HANDLER(_hear)
"""Ours; libtiff holds it as long as the process lives."""


def _format(module: bytes | None, words: bytes, arguments: int) -> str:
    text = ctypes.create_string_buffer(MAX_MESSAGE_BYTES)
    print_to = ctypes.pythonapi.PyOS_vsnprintf
    print_to(text, ctypes.c_size_t(MAX_MESSAGE_BYTES), ctypes.c_char_p(words), ctypes.c_void_p(arguments))
    parts = [part.decode(errors="replace") for part in (module or b"", text.value) if part]
    return ": ".join(parts)
