"""Test images beside their LaRE maps."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from cache_schema import Dataset, decode_image, is_ok, open_cache, read_image_bytes
from train.pictures.charts import colorize
from workflow.figures import png_uri


@dataclass(frozen=True)
class Picture:
    """An image beside its map, ready for the page."""

    image_source: str
    image: str
    """Data URI."""
    map: str
    mean: float


class Gallery:
    """Test images and their maps, all maps in one colour scale.

    Args:
        data: Dataset folder.
        cache: Cache folder of that dataset.
        num_photos: Photographs to show, one of each group as far as there are that many groups.
    """

    def __init__(self, data: Path, cache: Path, num_photos: int = 6, num_samples: int = 8) -> None:
        """Choose the images and read their maps."""
        self.dataset = Dataset.open(data)
        table = self.dataset.table().filter(pc.field("split") == "test")
        self.rows = {row["key"]: row for row in table.to_pylist()}
        self.tars = {entry.name: self.dataset.tar_path(n) for n, entry in enumerate(self.dataset.tars)}
        self.maps = read_test_maps(cache, self.rows)
        copies: dict[str, list[str]] = {}
        for key, row in self.rows.items():
            if row["derived_from"] in self.maps and key in self.maps:
                copies.setdefault(row["derived_from"], []).append(key)
        photos = self._one_a_group(sorted(copies), num_photos)
        self.families = [[p, *sorted(copies[p], key=self._source_order)] for p in photos]
        lone = sorted(k for k in self.maps if self.rows[k]["label"] == 1 and not self.rows[k]["derived_from"])
        step = max(1, len(lone) // num_samples)
        self.samples = lone[::step][:num_samples]
        shown = [k for family in self.families for k in family] + self.samples
        # The few highest cells would make all others dark.
        self.top = float(np.quantile([self.maps[k] for k in shown], 0.995)) if shown else 1.0

    def _one_a_group(self, keys: list[str], count: int) -> list[str]:
        # Of each photograph's tiles the middle one in mean LaRE: neither the flattest nor the busiest.
        groups: dict[str, list[str]] = {}
        for key in keys:
            groups.setdefault(self.rows[key]["group"], []).append(key)
        middles = [sorted(g, key=lambda k: float(self.maps[k].mean()))[len(g) // 2] for g in groups.values()]
        step = max(1, len(middles) // count)
        return middles[::step][:count]

    def _source_order(self, key: str) -> tuple[bool, bool, str]:
        row = self.rows[key]
        return row["label"] is None, "blur" in row["image_source"], row["image_source"]

    def picture(self, key: str) -> Picture:
        """One image with its map."""
        values, source = self.maps[key], self.rows[key]["image_source"]
        return Picture(source, png_uri(self.load_image(key)), png_uri(colorize(values, self.top)), float(values.mean()))

    def load_image(self, key: str) -> np.ndarray:
        """The pixels of one image, (height, width, 3) uint8."""
        row = self.rows[key]
        return np.asarray(decode_image(read_image_bytes(self.tars[row["tar"]], row["offset"], row["size"])))


def read_test_maps(cache: Path, keys: Container[str]) -> dict[str, np.ndarray]:
    """Key → map of a test image, the mean over channels, (h, w) float32; without rejected images.

    Args:
        cache: Cache folder.
        keys: Those that are wanted, as far as they are there.
    """
    opened = open_cache(cache)
    maps: dict[str, np.ndarray] = {}
    for name in opened.shards():
        if not name.startswith("test-"):
            continue
        shard = opened.read(name)
        wanted = [i for i in np.flatnonzero(is_ok(shard.status)) if shard.keys[i] in keys]
        maps |= {shard.keys[i]: shard.lare[i].astype(np.float32).mean(axis=0) for i in wanted}
    return maps
