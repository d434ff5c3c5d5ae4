"""What a store says of itself beside its arrays: written complete, and checked where it is read."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from cache_schema.addresses import Place
from cache_schema.errors import FormatVersionError
from cache_schema.plain_files import check_depth
from cache_schema.shown import shown
from cache_schema.status import Status

FORMAT_VERSION = 1
MAX_ATTRIBUTES_BYTES = 2**24
"""Of what lies beside the arrays: a reason for each rejected row, above all."""
_COUNTED = frozenset(status.name.lower() for status in Status)


def complete_attributes(attributes: Mapping[str, Any], status: np.ndarray, fingerprint: str) -> dict[str, Any]:
    """Attributes of a store with what every reader looks for: version, fingerprint, and rows counted by status."""
    statuses, counts = np.unique(status, return_counts=True)
    counted = {Status(s).name.lower(): int(c) for s, c in zip(statuses, counts, strict=True)}
    return {**attributes, "format_version": FORMAT_VERSION, "fingerprint": fingerprint, "counts": counted}


def parse_attributes(data: bytes, path: Place) -> dict[str, Any]:
    """Attributes of a store, checked.

    Args:
        data: The member `zarr.json` of its file.
        path: The store, for messages.

    Raises:
        ValueError, KeyError, TypeError: If they are not those of a store.
        FormatVersionError: If another version of the format wrote it.
    """
    metadata = json.loads(data)
    if metadata.get("zarr_format") != 3 or metadata.get("node_type") != "group":
        raise ValueError("expected a group in Zarr format 3")
    attributes = metadata["attributes"]
    version = attributes["format_version"]
    if version != FORMAT_VERSION:
        raise FormatVersionError(
            f"{path} has format version {shown(str(version))}, this code reads {FORMAT_VERSION}. "
            "Extract it again with --overwrite stale."
        )
    _check_attributes(attributes)
    return dict(attributes)


def _check_attributes(attributes: Mapping[str, Any]) -> None:
    """Raise ValueError where an attribute that readers use is not of its kind."""
    counts, reasons = attributes["counts"], attributes.get("reasons", {})
    if not all(name in _COUNTED and type(count) is int and count >= 0 for name, count in counts.items()):
        raise ValueError("counts are not numbers of rows by their status")
    num_rows = sum(counts.values())
    if not all(_is_row(row, num_rows) and isinstance(reason, str) for row, reason in reasons.items()):
        raise ValueError("reasons are not texts by their row")
    if not isinstance(attributes["fingerprint"], str):
        raise ValueError("fingerprint is no text")
    seconds = attributes.get("seconds", 0)
    if type(seconds) not in (int, float) or not 0 <= seconds < 1e15:
        raise ValueError("seconds is no number of seconds")
    check_depth(attributes)


def _is_row(text: str, num_rows: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < num_rows
