"""Whether a store, of maps or of canvases, was made from exactly the rows that the index has of its tar."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from cache_schema.dataset_file import TarEntry
from cache_schema.errors import ShardStale
from cache_schema.tars import rows_sha256


class Joinable(Protocol):
    """What is compared of a store: `ShardData`, `CanvasStore`."""

    @property
    def keys(self) -> Sequence[str]:
        """Sample keys, N of them."""

    @property
    def image_sha256(self) -> np.ndarray:
        """Hash of each image's bytes, (N, 32), uint8."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """`rows_sha256` among them."""


def check_join(shard: Joinable, rows: pa.Table, entry: TarEntry) -> None:
    """Check that a store was made from exactly these index rows, in this order.

    Args:
        shard: The store, of maps or of canvases.
        rows: Index rows of the tar.
        entry: The tar in dataset.json.

    Raises:
        ShardStale: If the number of rows, a key, an image hash, or the hash over all of them differs.
    """
    advice = f"{entry.name} has changed since its features were made: extract it again with --overwrite stale."
    if len(shard.keys) != len(rows):
        raise ShardStale(f"{entry.name}: the store has {len(shard.keys)} rows, the index {len(rows)}. {advice}")
    for row, (mine, theirs) in enumerate(zip(shard.keys, rows["key"].to_pylist(), strict=True)):
        if mine != theirs:
            raise ShardStale(f"{entry.name}, row {row}: the store has {mine!r}, the index {theirs!r}. {advice}")
    images = np.frombuffer(bytes.fromhex("".join(rows["sha256"].to_pylist())), dtype=np.uint8).reshape(-1, 32)
    changed = (shard.image_sha256 != images).any(axis=1)
    if changed.any():
        row = int(changed.argmax())
        raise ShardStale(f"{entry.name}, row {row} ({shard.keys[row]}): another image than the index has. {advice}")
    computed = rows_sha256(shard.keys, (bytes(h) for h in shard.image_sha256))
    if not computed == entry.rows_sha256 == shard.attributes.get("rows_sha256"):
        raise ShardStale(
            f"{entry.name}: rows hash to {computed}, dataset.json says {entry.rows_sha256}, the store "
            f"{shard.attributes.get('rows_sha256')}. {advice}"
        )
