"""Rejected images of a tar: counted, and warned about where they are more than allowed."""

import logging
from collections.abc import Mapping

from cache_schema import ShardData

logger = logging.getLogger(__name__)

EXIT_TOO_MANY_REJECTED = 3
"""Exit status of a run with more rejected images than allowed; its stores are written all the same."""


def warn_rejected(shard: ShardData, max_reject_fraction: float) -> bool:
    """Whether more of a tar was rejected than allowed; warns if so."""
    reasons = {row: f"{shard.keys[int(row)]}: {reason}" for row, reason in shard.attributes["reasons"].items()}
    return warn_rejected_rows(shard.attributes["tar"], len(shard.keys), reasons, max_reject_fraction)


def warn_rejected_rows(tar: str, num_rows: int, reasons: Mapping[str, str], max_reject_fraction: float) -> bool:
    """As `warn_rejected`, for rows without maps.

    Args:
        tar: Its name.
        num_rows: Of the tar.
        reasons: Row number as text → key and reason of each rejected row.
        max_reject_fraction: Share that is allowed.
    """
    if len(reasons) <= max_reject_fraction * num_rows:
        return False
    row, reason = next(iter(reasons.items()))
    logger.warning(
        "%s: %.1f %% rejected, %.1f %% allowed (max_reject_fraction). The first is row %s, %s",
        tar,
        100 * len(reasons) / num_rows,
        100 * max_reject_fraction,
        row,
        reason,
    )
    return True
