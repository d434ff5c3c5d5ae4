"""Footers of indexes, parsed once a file: with thousands of row groups that takes longer than reading one."""

from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from cache_schema.parquet import Footer, check_schema, parse_footer
from cache_schema.plain_files import identity

MAX_FOOTERS = 8
"""Parsed footers that are kept."""


@dataclass
class KnownFooter:
    """A footer, and what was found out about its file."""

    footer: Footer
    is_distinct: bool = False
    """Whether all keys of its dataset were compared, and none stands in two rows."""


_footers: dict[tuple[str | int, ...], KnownFooter] = {}


def load_footer(opened: BinaryIO, schema: pa.Schema) -> KnownFooter:
    """The footer of an open index.

    Raises:
        ValueError: If it cannot be followed, or has other columns than the schema.
    """
    name = identity(opened)
    if name not in _footers:
        footer = parse_footer(opened)
        check_schema(footer.schema, schema)
        if len(_footers) == MAX_FOOTERS:
            _footers.clear()
        _footers[name] = KnownFooter(footer)
    return _footers[name]
