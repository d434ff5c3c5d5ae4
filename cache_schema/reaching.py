"""Whether a model hub answers, asked once: its own library tries for a minute where there is no internet."""

import ssl
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

TIMEOUT_SEC = 5.0


def why_unreachable(address: str, timeout_sec: float = TIMEOUT_SEC) -> str | None:
    """Why nothing answers at an address, in a few words; None if something does.

    Args:
        address: Of the hub, with http or https.
        timeout_sec: A firewall that drops packets answers never.
    """
    try:
        with urlopen(Request(address, method="HEAD"), timeout=timeout_sec):
            return None
    except HTTPError:
        return None
    except ssl.SSLError:
        return None  # something does; the hub's library has certificates of its own
    except URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return None
        return " ".join(str(getattr(error.reason, "strerror", None) or error.reason).split()).lower()
    except (OSError, ValueError) as error:
        return " ".join(str(error).split()).lower()
