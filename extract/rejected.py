"""Rejected images of a tar: counted, and warned about where they are more than allowed."""

import logging

from cache_schema import ShardData

logger = logging.getLogger(__name__)

EXIT_TOO_MANY_REJECTED = 3
"""Exit status of a run with more rejected images than allowed; its stores are written all the same."""


def warn_rejected(shard: ShardData, max_reject_fraction: float) -> bool:
    """Whether more of a tar was rejected than allowed; warns if so."""
    num_rows, rejected = len(shard.keys), shard.num_rejected
    if rejected <= max_reject_fraction * num_rows:
        return False
    row, reason = next(iter(shard.attributes["reasons"].items()))
    logger.warning(
        "%s: %.1f %% rejected, %.1f %% allowed (max_reject_fraction). The first is row %s, %s: %s",
        shard.attributes["tar"],
        100 * rejected / num_rows,
        100 * max_reject_fraction,
        row,
        shard.keys[int(row)],
        reason,
    )
    return True
