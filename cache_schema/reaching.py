"""Whether a model hub answers, asked once: its own library tries for a minute where there is no internet."""

import ssl
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener, getproxies, proxy_bypass

TIMEOUT_SEC = 5.0
_PROXY_REFUSES = 407


def why_unreachable(address: str, timeout_sec: float = TIMEOUT_SEC) -> str | None:
    """Why nothing answers at an address, in a few words; None if something does.

    Args:
        address: Of the hub, with http or https.
        timeout_sec: A firewall that drops packets answers never.
    """
    why = _why_silent(address, timeout_sec)
    proxy = _proxy_of(address)
    return why if why is None or proxy is None else f"{why}, through the proxy {proxy} of the environment"


def why_download_failed(error: BaseException) -> str:
    """Why a download broke off, in a few words, and what waits longer where it was slow.

    Args:
        error: What the hub's library raised, or the library of transfers below it.
    """
    text = " ".join(str(error).split())[:300] or type(error).__name__
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if any("Timeout" in kind for kind in kinds) or "timed out" in text.lower():
        return f"{text}; HF_HUB_DOWNLOAD_TIMEOUT=60 waits longer, and another attempt goes on from here"
    if any("Proxy" in kind for kind in kinds):
        return f"{text}; see the proxy in HTTPS_PROXY and NO_PROXY"
    return text


def _why_silent(address: str, timeout_sec: float) -> str | None:
    try:
        with build_opener().open(Request(address, method="HEAD"), timeout=timeout_sec):
            return None
    except HTTPError as error:
        return "the proxy asks for a name and a password" if error.code == _PROXY_REFUSES else None
    except ssl.SSLError:
        return None  # something does; the hub's library has certificates of its own
    except URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return None
        return " ".join(str(getattr(error.reason, "strerror", None) or error.reason).split()).lower()
    except (OSError, ValueError) as error:
        return " ".join(str(error).split()).lower()


def _proxy_of(address: str) -> str | None:
    """Host and port of the proxy that the environment names for an address, without the password that may be in it."""
    parts = urlsplit(address)
    proxy = getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    return urlsplit(proxy if "://" in proxy else f"//{proxy}").netloc.rpartition("@")[2]
