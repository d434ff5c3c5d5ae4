"""What dataset.json says, checked: its tars, and the kinds of its values. Each function raises ValueError."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache_schema.keys import parse_tar_name

_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class TarEntry:
    """A tar as dataset.json lists it."""

    name: str
    num_rows: int
    num_bytes: int
    rows_sha256: str
    """Hash over key and image sha256 in row order."""


def parse_entry(content: Mapping[str, Any]) -> TarEntry:
    """A tar, checked."""
    entry = TarEntry(**content)
    check_kinds(content, {"name": str, "num_rows": int, "num_bytes": int, "rows_sha256": str})
    parse_tar_name(entry.name)
    if entry.num_rows < 0 or entry.num_bytes < 0 or not _HASH.fullmatch(entry.rows_sha256):
        raise ValueError(f"{entry.name} has {entry.num_rows} rows, {entry.num_bytes} bytes, hash {entry.rows_sha256!r}")
    return entry


def check_once(names: Sequence[str]) -> None:
    """Raise ValueError if a tar is listed twice."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{twice[0]} is listed twice: its samples would count twice")


def check_counts(counts: Mapping[str, Any]) -> None:
    """Raise ValueError if counts are not numbers of samples by split and image source."""
    for sources in counts.values():
        if not isinstance(sources, dict) or not all(type(count) is int for count in sources.values()):
            raise ValueError("counts are not numbers of samples by split and image source")


def parse_updated(names: Any, known: Sequence[str]) -> tuple[str, ...]:
    """Names of updated fields, each of which is known."""
    if not isinstance(names, list) or not all(name in known for name in names):
        raise ValueError(f"updated is {str(names)[:100]!r}: expected names of fields")
    return tuple(names)


def check_kinds(content: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Raise ValueError if a value is not of its kind."""
    for name, kind in kinds.items():
        if type(content[name]) is not kind:
            raise ValueError(f"{name} is {str(content[name])[:100]!r}: expected {kind.__name__}")
