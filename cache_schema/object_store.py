"""Requests to object storage (`s3://`, `gs://`, `az://`) through obstore, and what it answers as our errors.

Credentials, region and endpoint come from obstore's usual environment variables. None of them is read here, told or
kept.
"""

import errno
import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cache_schema.errors import StorageError
from cache_schema.object_errors import Address, translated
from cache_schema.shown import shown

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Client = AzureStore | GCSStore | S3Store

SILENT_SEC = "LARE_STORAGE_SILENT_SEC"
RETRY_SEC = "LARE_STORAGE_RETRY_SEC"
DEFAULT_SEC = {SILENT_SEC: 60.0, RETRY_SEC: 120.0}
"""A connection on which nothing comes for so long is given up; failed requests are repeated for so long."""
MAX_RETRIES = 8
NUM_BODIES = 4
"""Times that a body is asked for which did not come whole."""
PART_BYTES = 2**23
"""Of an object that is sent in parts."""
_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}


class Found(NamedTuple):
    """An object as the service lists it."""

    key: str
    num_bytes: int
    version: str
    """Its entity tag, or when it was changed: another one after each change."""


def find(address: Address) -> Found | None:
    """What the service knows of an object; None if it is not there.

    Raises:
        StorageError: If the service does not answer, or refuses.
    """
    import obstore

    try:
        with translated(address):
            return _found(obstore.head(_client(address), address.key))
    except FileNotFoundError:
        return None


def list_folder(address: Address) -> tuple[list[Found], list[str]]:
    """The objects directly below a prefix, page by page, and the prefixes that lie there, without their slash.

    Raises:
        StorageError: If the service does not answer, or refuses.
    """
    import obstore

    with translated(address):
        for left in reversed(range(NUM_BODIES)):
            try:
                listed = obstore.list_with_delimiter(_client(address), f"{address.key}/" if address.key else None)
                break
            except obstore.exceptions.GenericError as error:  # of a listing that did not come whole, for example
                if not left or "list response" not in str(error):
                    raise
        return [_found(meta) for meta in listed["objects"]], [str(prefix) for prefix in listed["common_prefixes"]]


def read_whole(address: Address, max_bytes: int) -> bytes:
    """All bytes of an object in one request.

    Raises:
        FileNotFoundError: If it is not there.
        OSError: If it has more than `max_bytes`; it is not read then.
        StorageError: If the service does not answer, refuses, or sends less than the object.
    """
    import obstore

    with translated(address):
        for left in reversed(range(NUM_BODIES)):
            # A range, as the answer then tells the size of the object besides the length of what it sends.
            try:
                result = obstore.get(_client(address), address.key, options={"range": (0, max_bytes + 1)})
            except obstore.exceptions.GenericError as error:
                if _is_of_nothing(error) and not obstore.head(_client(address), address.key)["size"]:
                    return b""
                raise
            size = result.meta["size"]
            if size > max_bytes:
                words = f"it is larger than a file of its kind, {max_bytes:,} bytes at most"
                raise OSError(errno.EFBIG, words, str(address))
            if (data := _body(result, size, left)) is not None:
                return data
    raise AssertionError("the last body is there, or an error")


def read_tail(address: Address, num_bytes: int) -> tuple[bytes, Found]:
    """The last bytes of an object, and what the service knows of it, in one request (of an `az://` object two).

    Raises:
        FileNotFoundError: If it is not there.
        StorageError: As `read_whole`.
    """
    import obstore

    if address.scheme == "az":  # has no such requests
        with translated(address):
            known = _found(obstore.head(_client(address), address.key))
        return read_range(address, max(0, known.num_bytes - num_bytes), known.num_bytes), known
    with translated(address):
        for left in reversed(range(NUM_BODIES)):
            try:
                result = obstore.get(_client(address), address.key, options={"range": {"suffix": num_bytes}})
            except obstore.exceptions.GenericError as error:
                if _is_of_nothing(error):
                    known = _found(obstore.head(_client(address), address.key))
                    if not known.num_bytes:
                        return b"", known
                raise
            known = _found(result.meta)
            if (data := _body(result, min(num_bytes, known.num_bytes), left)) is not None:
                return data, known
    raise AssertionError("the last body is there, or an error")


def read_range(address: Address, start: int, end: int, version: str | None = None) -> bytes:
    """The bytes `start` to `end` of an object, which has as many.

    Args:
        address: Of the object.
        start: First byte,
        end: and the one behind the last.
        version: The object's when it was opened: another one is an error.

    Raises:
        FileNotFoundError: If it is not there.
        StorageError: As `read_whole`, or if the object is another one.
    """
    import obstore

    if end <= start:
        return b""
    with translated(address):
        for left in reversed(range(NUM_BODIES)):
            result = obstore.get(_client(address), address.key, options={"range": (start, end)})
            if version is not None and _found(result.meta).version != version:
                raise StorageError(f"{address} was replaced while it was being read. Run the same command again.")
            if (data := _body(result, end - start, left)) is not None:
                return data
    raise AssertionError("the last body is there, or an error")


def put(address: Address, content: bytes | Path, *, replace: bool, in_parts: bool = False) -> None:
    """Store an object; it is there whole, or not at all.

    Args:
        address: Where.
        content: Its bytes, or a file with them.
        replace: Take the place of an object that is there; otherwise it is refused.
        in_parts: Send it in several requests, for what is larger than some hundred MB.

    Raises:
        FileExistsError: If an object with other bytes is there and `replace` is off. With the same bytes it may be
            ours: a request whose answer was lost is sent again.
        StorageError: If the service does not answer, or refuses.
    """
    import obstore

    mode: Any = "overwrite" if replace else "create"
    sizes: Any = {"use_multipart": in_parts, "chunk_size": PART_BYTES}
    try:
        with translated(address):
            for left in reversed(range(NUM_BODIES)):
                try:
                    obstore.put(_client(address), address.key, content, mode=mode, **sizes)
                    break
                except obstore.exceptions.GenericError as error:  # obstore does not repeat it where no answer comes
                    if not left or "non-2xx" in str(error):
                        raise
    except FileExistsError:
        if not _is_same(address, content):
            raise


def delete(address: Address) -> None:
    """Remove an object, if it is there.

    Raises:
        StorageError: If the service does not answer, or refuses.
    """
    import obstore

    with translated(address), suppress(FileNotFoundError):
        obstore.delete(_client(address), address.key)


def _is_same(address: Address, content: bytes | Path) -> bool:
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    known = find(address)
    if known is None or known.num_bytes != size:
        return False
    for start in range(0, size, PART_BYTES):
        end = min(start + PART_BYTES, size)
        if isinstance(content, Path):
            with content.open("rb") as file:
                file.seek(start)
                mine = file.read(end - start)
        else:
            mine = content[start:end]
        if read_range(address, start, end, known.version) != mine:
            return False
    return True


def _body(result: Any, num_bytes: int, tries_left: int) -> bytes | None:
    """A request's body; None if it did not come whole, and may be asked for once more."""
    import obstore

    try:
        data = bytes(result.bytes())
    except obstore.exceptions.BaseError:
        if not tries_left:
            raise
        time.sleep(0.1)
        return None
    if len(data) == num_bytes:
        return data
    if not tries_left:
        raise StorageError(
            f"{result.meta['path']}: {len(data):,} of {num_bytes:,} bytes came, and no more at {NUM_BODIES} tries. "
            "The service or what lies before it is broken."
        )
    return None


def _is_of_nothing(error: Exception) -> bool:
    """Whether a service said that a range cannot be had, as of an empty object none can."""
    return " 416" in str(error) or "non-partial response" in str(error)


def _found(meta: Any) -> Found:
    return Found(meta["path"], meta["size"], meta["e_tag"] or str(meta["last_modified"]))


_clients: dict[tuple[str, str], "Client"] = {}
_process: list[int] = []


def is_usable_here() -> bool:
    """Whether this process may ask: one that was forked from a process that has asked would wait for ever."""
    return _process in ([], [os.getpid()])


def _client(address: Address) -> "Client":
    assert is_usable_here(), "a forked process asks object storage: it must leave this to cache_schema.copies"
    _process[:] = [os.getpid()]
    name = (address.scheme, address.bucket)
    if name not in _clients:
        _clients[name] = _make_client(*name)
    return _clients[name]


def _make_client(scheme: str, bucket: str) -> "Client":
    from obstore.store import AzureStore, GCSStore, S3Store

    kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    silent, retry = (timedelta(seconds=_seconds(name)) for name in (SILENT_SEC, RETRY_SEC))
    options: dict[str, Any] = {
        "connect_timeout": silent,
        "read_timeout": silent,
        "timeout": timedelta(hours=1),  # of a whole request: obstore's own 30 s would cut long bodies
    }
    if os.environ.get(_ALLOW_HTTP[scheme], "").lower() in ("1", "true", "yes", "on"):
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
