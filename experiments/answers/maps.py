"""Test images beside their maps in several caches: a row an image source, a column a cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from cache_schema import check_dataset, open_cache, resize_canvas
from train.pictures.charts import COLORMAP
from train.pictures.plots import styled_figure
from workflow.figures import draw_svg
from workflow.gallery import Gallery, read_test_maps

NUM_BLOCKS = 2
MAX_IMAGE_PX = 128
"""Larger images are shown smaller."""
PANEL = 0.95
"""Inches."""


@dataclass(frozen=True)
class Maps:
    """Images and their maps.

    Attributes:
        sources: Image sources, in the order of the rows.
        tops: Cache → the value at the upper end of its colours.
        images: Sample key → the canvas that was encoded, (S, S, 3) uint8.
        maps: Cache → sample key → map, mean over channels, (h, w) float32; without rejected images.
        blocks: Image source → sample key: photographs with what was made of them, and an image of each other source.
    """

    sources: list[str]
    tops: dict[str, float]
    images: dict[str, np.ndarray]
    maps: dict[str, dict[str, np.ndarray]]
    blocks: list[dict[str, str]]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of a block in inches."""
        return 1.1 + PANEL * (1 + len(self.tops)), 0.5 + 1.15 * PANEL * len(self.sources)


def load_maps(data: Path, caches: Sequence[Path]) -> Maps:
    """Choose images by the first cache, and read them and their maps.

    Args:
        data: Dataset folder.
        caches: Cache folders of that dataset, named by their last part.

    Raises:
        CacheError: If one cannot be read, or belongs to another dataset.
        ValueError: If two caches have one name, or one has no maps of the images.
    """
    if len({folder.name for folder in caches}) < len(caches):
        raise ValueError(f"caches are shown by name: {', '.join(map(str, caches))} share one")
    gallery = Gallery(data, caches[0], num_photos=NUM_BLOCKS)
    for folder in caches:
        check_dataset(open_cache(folder), gallery.dataset.dataset_id)
    blocks = choose_images(gallery.rows, gallery.families, sorted(gallery.maps), NUM_BLOCKS)
    keys = {key for block in blocks for key in block.values()}
    maps = {folder.name: read_test_maps(folder, keys) for folder in caches}
    if empty := [name for name, each in maps.items() if not each]:
        raise ValueError(f"{', '.join(empty)}: no maps of the test images that are shown")
    size_px = min(MAX_IMAGE_PX, int(open_cache(caches[0]).fields["image_size"]))
    return Maps(
        sources=order_sources(gallery.rows, blocks),
        # The few highest cells would make all others dark.
        tops={name: float(np.quantile([*each.values()], 0.995)) for name, each in maps.items()},
        images={key: resize_canvas(Image.fromarray(gallery.load_image(key)), size_px) for key in keys},
        maps=maps,
        blocks=blocks,
    )


def choose_images(
    rows: Mapping[str, Mapping[str, Any]], families: Sequence[Sequence[str]], keys: Sequence[str], num: int
) -> list[dict[str, str]]:
    """Image source → sample key: a family each, and an image of each labelled source that is in none.

    Args:
        rows: Sample key → its `image_source` and `label`.
        families: Keys of a photograph and of what was made of it; may be none.
        keys: What there is to choose from, sorted.
        num: How many, where there are no families.
    """
    blocks = [{rows[key]["image_source"]: key for key in family} for family in families] or [{} for _ in range(num)]
    others: dict[str, list[str]] = {}
    for key in keys:
        source = rows[key]["image_source"]
        if rows[key]["label"] is not None and not any(source in block for block in blocks):
            others.setdefault(source, []).append(key)
    for source, found in others.items():
        step = max(1, len(found) // len(blocks))
        for block, key in zip(blocks, found[::step], strict=False):
            block[source] = key
    return blocks


def order_sources(rows: Mapping[str, Mapping[str, Any]], blocks: Sequence[Mapping[str, str]]) -> list[str]:
    """Photographs, what else is not generated, what was made of photographs, what was made of nothing."""
    keys = {source: key for block in blocks for source, key in block.items()}

    def place(source: str) -> tuple[bool, bool, str]:
        row = rows[keys[source]]
        is_generated = row["label"] == 1
        return is_generated, (row["derived_from"] is None) == is_generated, source

    return sorted(keys, key=place)


def plot_block(figure: Figure, maps: Maps, block: Mapping[str, str]) -> None:
    """Fill a figure with a block: images, then the maps of each cache over its colour scale."""
    panels = figure.subplots(len(maps.sources), 1 + len(maps.tops), squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[], anchor="N")
        axes.spines[:].set_visible(False)
        axes.grid(False)
    for row, source in zip(panels, maps.sources, strict=True):
        row[0].set_ylabel(source, rotation=0, ha="right", va="center", fontsize=8)
        if source not in block:
            continue
        key = block[source]
        row[0].imshow(maps.images[key], interpolation="none")
        for axes, (name, top) in zip(row[1:], maps.tops.items(), strict=True):
            if (values := maps.maps[name].get(key)) is not None:
                axes.imshow(values, cmap=COLORMAP, vmin=0, vmax=top, interpolation="none")
                axes.set_xlabel(f"{values.mean():.3f}", fontsize=7, labelpad=2)
    for column, (name, top) in zip(panels.T[1:], maps.tops.items(), strict=True):
        scale = ScalarMappable(Normalize(0, top), COLORMAP)
        bar = figure.colorbar(scale, ax=list(column), location="top", label=name, aspect=8, ticks=[0, top], pad=0.02)
        bar.ax.set_xticklabels(["0", f"{top:.2g}"], fontsize=7)


def draw_svgs(maps: Maps) -> list[str]:
    """A block each as an `<svg>` element for the page."""
    return [
        draw_svg(f"images and maps, {number}", *maps.size, partial(plot_block, maps=maps, block=block))
        for number, block in enumerate(maps.blocks, 1)
    ]


def draw_png(maps: Maps, path: Path) -> None:
    """All blocks beside one another as a PNG file."""
    width, height = maps.size
    title = "Maps averaged over channels, and their means"
    with styled_figure(path, title, width * len(maps.blocks), height + 0.3) as figure:
        parts = figure.subfigures(1, len(maps.blocks), squeeze=False).ravel()
        for part, block in zip(parts, maps.blocks, strict=True):
            plot_block(part, maps, block)
