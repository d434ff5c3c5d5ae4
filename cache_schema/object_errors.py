"""What object storage answers, as errors of ours: bucket, key and the service's words, and nothing of a request.

A service that refuses a signature repeats the request that was signed; obstore's texts hold all of it.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cache_schema.errors import StorageError
from cache_schema.shown import shown

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; for public data AWS_SKIP_SIGNATURE=true",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS; for public data GOOGLE_SKIP_SIGNATURE=true",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY; for public data AZURE_SKIP_SIGNATURE=true",
}
"""Scheme → the variables that say who asks."""
ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}
ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
"""Scheme → the variable that allows plain HTTP."""
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_BAD_NAME = re.compile(r"object with invalid path|while parsing path|whilst parsing path|empty path segment")
_CREDENTIALS = re.compile(r"service account|credential error|Account must be specified|Invalid Access Key")
_METADATA = re.compile(r"169\.254\.|metadata\.google|InstanceMetadata", re.IGNORECASE)


class Address(NamedTuple):
    """Where an object lies, or the prefix of several."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """What obstore raises, as an error of ours that tells bucket, key and what the service said."""
    import obstore

    try:
        yield
    except obstore.exceptions.AlreadyExistsError:
        raise FileExistsError(errno.EEXIST, "an object of that name is there", str(address)) from None
    except FileNotFoundError as error:
        if _NO_BUCKET.search(str(error)):
            raise StorageError(f"{address}: {_no_bucket(address)}") from None
        raise FileNotFoundError(errno.ENOENT, "no such object", str(address)) from None
    except (obstore.exceptions.BaseError, ValueError) as error:
        if _NO_BUCKET.search(str(error)):
            raise StorageError(f"{address}: {_no_bucket(address)}") from None
        # None: the chain would show the whole text, which repeats parts of the request.
        raise StorageError(f"{address}: {explain(str(error), address.scheme)}") from None


def _no_bucket(address: Address) -> str:
    return f"there is no bucket {shown(address.bucket)}. Make it first, or name another one."


def explain(text: str, scheme: str) -> str:
    """What a service said, from obstore's text of several lines; of a request that it repeats, nothing."""
    status = re.search(r"non-2xx status code: (\d{3}[^:<\n]*)", text)
    code, message = (re.search(rf"<{tag}>([^<]*)</{tag}>", text) for tag in ("Code", "Message"))
    if message is None:
        message = re.search(r'"message":\s*"([^"]*)"', text)  # Google's answers are JSON
    # Azure tells the request's number and time in further lines of its message.
    said = [part[1].strip().partition("\n")[0] for part in (status, code, message) if part and part[1].strip()]
    if _BAD_NAME.search(text):
        found = re.search(r'[Pp]ath "([^"]*)', text)
        name = f" ({shown(found[1])})" if found else ""
        return f"an object there has a name that cannot be asked for{name}: rename it."
    if _METADATA.search(text):
        return f"no credentials were found. Set {CREDENTIALS[scheme]}."
    first = text.partition("\n")[0]
    if not said and _CREDENTIALS.search(first):
        reason = shown(first.partition(" error: ")[2] or first).rstrip(".")
        return f"the credentials cannot be used ({reason}). Set {CREDENTIALS[scheme]}."
    if "builder error" in first:
        return f"no request can be made. Plain HTTP needs {ALLOW_HTTP[scheme]}=true; check {ENDPOINTS[scheme]}."
    if said:
        words = f"the service said {shown(': '.join(said).rstrip('.'))}."
        is_refusal = said[0].startswith(("401", "403"))
        return f"{words} Check {CREDENTIALS[scheme]}." if is_refusal else words
    first = re.sub(r"\?\S*", "", first)  # a query may hold a token
    reason = first.rpartition(" - ")[2] or first
    retries = re.search(r"after (\d+) retries", first)
    tried = f" at {int(retries[1]) + 1} tries" if retries else ""
    return f"no answer{tried} ({shown(reason)}). Check the network and {ENDPOINTS[scheme]}."
