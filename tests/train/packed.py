"""A small packed dataset with a cache whose maps are painted from the images, so that misplacement shows."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema import (
    Cache,
    Dataset,
    Fingerprint,
    ShardData,
    create_cache,
    decode_image,
    read_image_bytes,
    resize_canvas,
    store_name,
    write_dataset,
)
from tests.samples import make_sample, make_shard
from train.data.datamodule import LareDataModule

CANVAS_PX, MAP_CELLS, CROP_PX = 16, 8, 12
STRIDE = CANVAS_PX // MAP_CELLS

FIELDS = {
    "recipe": 1,
    "method": "lare",
    "timestep": 200,
    "image_size": CANVAS_PX,
    "resize": "squash",
    "filter": "bicubic",
    "stored_dtype": "float32",
}

Change = Callable[[int, ShardData], ShardData | None]


def pack(folder: Path, *, train: int = 20, validation: int = 5, test: int = 6, controls: int = 2) -> Dataset:
    """Tars of 6; the last samples of the test split are controls."""
    splits = ["train"] * train + ["validation"] * validation + ["test"] * (test + controls)
    samples = [make_sample(i, split=split, size_px=CANVAS_PX + i % 3) for i, split in enumerate(splits)]
    for i in range(len(samples) - controls, len(samples)):
        fields = {"label": None, "image_source": "blur", "source_path": f"blur/{i}.png"}
        samples[i] = make_sample(i, split="test", size_px=CANVAS_PX, **fields)
    return write_dataset(folder, samples, {"made_by": "a test"}, max_rows=6)


def cell_means(image: np.ndarray) -> np.ndarray:
    """Mean of each channel over each map cell: (3, S, S) → (3, S / stride, S / stride), float32."""
    channels, height, width = image.shape
    cells = image.reshape(channels, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
    return cells.mean(axis=(2, 4), dtype=np.float64).astype(np.float32)


def extract(dataset: Dataset, folder: Path, change: Change = lambda n, shard: shard, **fields: Any) -> Cache:
    """Write a cache of `cell_means` maps; `change` may alter tar n's store or leave it out."""
    cache = create_cache(folder, dataset.dataset_id, Fingerprint({**FIELDS, **fields}))
    for n, entry in enumerate(dataset.tars):
        rows = dataset.rows(n)
        maps = [
            cell_means(canvas_of(dataset, n, offset, size))
            for offset, size in zip(rows["offset"].to_pylist(), rows["size"].to_pylist(), strict=True)
        ]
        shard = change(n, replace(make_shard(rows, entry), lare=np.stack(maps)))
        if shard is not None:
            cache.write(store_name(entry.name), shard)
    return cache


def canvas_of(dataset: Dataset, n: int, offset: int, size: int) -> np.ndarray:
    """Canvas of a sample, (3, canvas, canvas)."""
    data = read_image_bytes(dataset.tar_path(n), offset, size)
    return resize_canvas(decode_image(data), CANVAS_PX).transpose(2, 0, 1)


def module(dataset: Dataset, *caches: Cache, **settings: Any) -> LareDataModule:
    """A datamodule over caches, small and in this process."""
    settings = {"batch_size": 3, "num_workers": 0, "crop_px": CROP_PX, "block_tars": 2, **settings}
    return LareDataModule(str(dataset.folder), [str(cache.folder) for cache in caches], **settings)


def rows_of(batches: Iterable[dict[str, Any]]) -> list[list[int]]:
    """Rows of each batch."""
    return [batch["row"].tolist() for batch in batches]
