"""Every setting of a run that makes canvases alone, each with a sentence and a check."""

from dataclasses import dataclass
from typing import Literal

from cache_schema import check_choice, check_least
from extract.shards import parse_shards


@dataclass(frozen=True, kw_only=True)
class CanvasConfig:
    """Canvases of a dataset's tars without any model: what training in view canvas reads in place of the originals.

    Tars that already have their canvases are skipped.

    Raises:
        ValueError: If a setting is outside its range.
    """

    data: str
    """Folder with dataset.json."""
    cache: str
    """Cache folder of the canvases, for example cache/genimage/canvas-256; made if absent."""
    image_size: int = 256
    """Side in px of a canvas: that of the maps it is trained with."""
    shard: str | int = "all"
    """Positions of tars in dataset.json's list: "3", "0-31", "3,7,9" or "all"."""
    num_workers: int = 2
    """Tars that are read at once, a process each."""
    overwrite: bool | Literal["stale"] = False
    """Make existing stores again: all of them, or only stores that are damaged or whose tar has changed (`stale`)."""
    keep_going: bool = False
    """If a tar is missing, damaged or differs from the index, continue with the others, and exit 1 at the end."""
    max_reject_fraction: float = 0.05
    """Share of a tar's images that may be rejected; above it the command exits 3, with the store written."""

    def __post_init__(self) -> None:
        """Check the settings."""
        check_least("image_size", self.image_size, 1)
        check_least("num_workers", self.num_workers, 1)
        check_choice("overwrite", self.overwrite, (False, True, "stale"))
        if not 0 <= self.max_reject_fraction <= 1:
            raise ValueError(f"max_reject_fraction is {self.max_reject_fraction}: expected 0 … 1")
        parse_shards(self.shard)
