"""How many bytes all requests together may hold in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from detect.server.refusals import Refusal


class ByteBudget:
    """Bytes that uploads hold at once. Used by one event loop alone, so that it needs no lock.

    Args:
        limit: Most bytes of all requests together.
    """

    def __init__(self, limit: int) -> None:
        """Begin with nothing held."""
        self.limit, self.held = limit, 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """One request's part of the budget, which is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


class Share:
    """What one request holds of a budget."""

    def __init__(self, budget: ByteBudget) -> None:
        """Begin with nothing."""
        self._budget, self.held = budget, 0

    def cover(self, num_bytes: int) -> None:
        """Hold at least so many bytes.

        Raises:
            Refusal: If other requests hold too many; 503.
        """
        more = num_bytes - self.held
        if more <= 0:
            return
        if self._budget.held + more > self._budget.limit:
            raise Refusal(503, "Too many bytes are being uploaded at once: try again in a moment.")
        self._budget.held += more
        self.held += more
