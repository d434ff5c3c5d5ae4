"""How far a command is: told where the work is done, heard by whoever has started it."""

from collections.abc import Callable

Listener = Callable[[int, int], None]
_listeners: list[Listener] = []


def tell(done: int, total: int) -> None:
    """Say how much is done of how much; nothing happens where nobody listens."""
    for listener in _listeners:
        listener(done, total)


def listen(listener: Listener) -> None:
    """Hear all that this process tells from now on."""
    _listeners.append(listener)
