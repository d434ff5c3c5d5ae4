"""Who asks for objects: one client of obstore a bucket and process, with bounds on silence and repetition.

Credentials, region and endpoint come from obstore's usual environment variables. None of them is read here, told or
kept.
"""

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cache_schema.errors import StorageError
from cache_schema.object_errors import ALLOW_HTTP, ENDPOINTS, Address
from cache_schema.shown import shown

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Client = AzureStore | GCSStore | S3Store

SILENT_SEC = "LARE_STORAGE_SILENT_SEC"
RETRY_SEC = "LARE_STORAGE_RETRY_SEC"
DEFAULT_SEC = {SILENT_SEC: 60.0, RETRY_SEC: 120.0}
"""A connection on which nothing comes for so long is given up; failed requests are repeated for so long."""
MAX_RETRIES = 8
_ENDPOINT = re.compile(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", re.IGNORECASE)
_clients: dict[tuple[str, str], "Client"] = {}
_process: list[int] = []


def is_usable_here() -> bool:
    """Whether this process may ask: one that was forked from a process that has asked would wait for ever."""
    return _process in ([], [os.getpid()])


def client_of(address: Address) -> "Client":
    """Who asks for objects of a bucket, made when it is first asked."""
    assert is_usable_here(), "a forked process asks object storage: it must leave this to cache_schema.copies"
    _process[:] = [os.getpid()]
    name = (address.scheme, address.bucket)
    if name not in _clients:
        _clients[name] = _make_client(*name)
    return _clients[name]


def _make_client(scheme: str, bucket: str) -> "Client":
    from obstore.store import AzureStore, GCSStore, S3Store

    endpoint = os.environ.get(ENDPOINTS[scheme])
    if endpoint and not _ENDPOINT.fullmatch(endpoint):  # the library ends the process
        raise StorageError(f"{ENDPOINTS[scheme]} is no address of a service: expected https://host or http://host:port")
    kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    silent, retry = (timedelta(seconds=_seconds(name)) for name in (SILENT_SEC, RETRY_SEC))
    options: dict[str, Any] = {
        "connect_timeout": silent,
        "read_timeout": silent,
        "timeout": timedelta(hours=1),  # of a whole request: obstore's own 30 s would cut long bodies
    }
    if os.environ.get(ALLOW_HTTP[scheme], "").lower() in ("1", "true", "yes", "on"):
        options["allow_http"] = True
    backoff = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 2}
    retries = {"max_retries": MAX_RETRIES, "retry_timeout": retry, "backoff": backoff}
    client: Client = kinds[scheme](bucket, client_options=options, retry_config=retries)
    return client


def _seconds(name: str) -> float:
    text = os.environ.get(name, "")
    try:
        seconds = float(text) if text else DEFAULT_SEC[name]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise StorageError(f"{name} is {shown(text)}: expected a number of seconds above 0")
    return seconds
