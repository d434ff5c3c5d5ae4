"""Requests to object storage (`s3://`, `gs://`, `az://`) through obstore, and what it answers as our errors."""

import errno
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cache_schema.errors import StorageError
from cache_schema.object_clients import client_of
from cache_schema.object_errors import Address, translated

NUM_BODIES = 4
"""Times that a body is asked for which did not come whole."""
PART_BYTES = 2**23
"""Of an object that is sent in parts."""


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
            return _found(obstore.head(client_of(address), address.key))
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
                listed = obstore.list_with_delimiter(client_of(address), f"{address.key}/" if address.key else None)
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
                result = obstore.get(client_of(address), address.key, options={"range": (0, max_bytes + 1)})
            except obstore.exceptions.GenericError as error:
                if _is_of_nothing(error) and not obstore.head(client_of(address), address.key)["size"]:
                    return b""
                if left and _is_cut(error):
                    continue
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
            known = _found(obstore.head(client_of(address), address.key))
        return read_range(address, max(0, known.num_bytes - num_bytes), known.num_bytes), known
    with translated(address):
        for left in reversed(range(NUM_BODIES)):
            try:
                result = obstore.get(client_of(address), address.key, options={"range": {"suffix": num_bytes}})
            except obstore.exceptions.GenericError as error:
                if _is_of_nothing(error):
                    known = _found(obstore.head(client_of(address), address.key))
                    if not known.num_bytes:
                        return b"", known
                if left and _is_cut(error):
                    continue
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
            result = obstore.get(client_of(address), address.key, options={"range": (start, end)})
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
                    obstore.put(client_of(address), address.key, content, mode=mode, **sizes)
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
        obstore.delete(client_of(address), address.key)


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


def _is_cut(error: Exception) -> bool:
    """Whether an answer ended before its end, of which the library repeats nothing; a refusal's words, for example."""
    return "response body error" in str(error)


def _found(meta: Any) -> Found:
    return Found(meta["path"], meta["size"], meta["e_tag"] or str(meta["last_modified"]))
