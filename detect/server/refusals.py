"""Why a request is refused: a status and one plain sentence, as JSON."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import JSONResponse

RETRY_AFTER_SEC = 1


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status; 503 also says after how many seconds to try again.
        sentence: What is wrong and what to do, for a person.
    """

    def __init__(self, status: int, sentence: str) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.status, self.sentence = status, sentence

    def response(self) -> "JSONResponse":
        """The answer: {"error": sentence}."""
        from starlette.responses import JSONResponse

        headers = {"retry-after": str(RETRY_AFTER_SEC)} if self.status == 503 else None
        return JSONResponse({"error": self.sentence}, self.status, headers)
