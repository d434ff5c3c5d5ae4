"""The metadata of a dataset of millions of samples without its images: index, dataset.json, and stores' attributes."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cache_schema import DATASET_VERSION, INDEX_SCHEMA, Dataset, ShardData, Status, TarEntry, create_cache, store_name
from extract import ExtractConfig, compute_fingerprint, make_method
from extract.run.model import Model

ROWS = 4096
SOURCES = ("adm", "biggan", "glide", "midjourney", "sdv4", "sdv5", "vqdm", "wukong")
TEST_SHARE = 100_000 / 2_681_167
"""GenImage's own validation folders: 50,000 real and 50,000 generated."""
DATASET_ID = "0" * 64
ROWS_SHA256 = "1" * 64
"""Of every tar: nothing that is measured reads the rows that it would be the hash of."""


def write_tables(folder: Path, num_samples: int) -> Dataset:
    """Write index and dataset.json, as packing would: 4,096 rows a tar, half of them generated, by eight sources."""
    folder.mkdir(parents=True)
    entries: list[TarEntry] = []
    with pq.ParquetWriter(folder / "index.parquet", INDEX_SCHEMA, compression="zstd", write_page_checksum=True) as file:
        numbers: dict[str, int] = {}
        for start in range(0, num_samples, ROWS):
            rows = np.arange(start, min(start + ROWS, num_samples))
            split = _split_of(start / num_samples)
            name = f"{split}-{numbers.setdefault(split, 0):06d}.tar"
            numbers[split] += 1
            file.write_table(_rows(rows, name, split), row_group_size=ROWS)
            entries.append(TarEntry(name, len(rows), 400_000_000, ROWS_SHA256))
    content = {
        "format_version": DATASET_VERSION,
        "dataset_id": DATASET_ID,
        "tars": [asdict(entry) for entry in entries],
        "counts": {},
        "settings": {},
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return Dataset.open(folder)


def _split_of(place: float) -> str:
    train = 1 - TEST_SHARE
    return "train" if place < 0.98 * train else "validation" if place < train else "test"


def _rows(numbers: np.ndarray, tar: str, split: str) -> pa.Table:
    """Rows of a tar, with keys, paths and hashes as long as real ones."""
    rng = np.random.default_rng(int(numbers[0]))
    labels = rng.permutation(np.arange(len(numbers)) % 2)
    places = rng.integers(0, len(SOURCES), len(numbers))
    subsets = [SOURCES[p] for p in places]
    folders = [("nature", "ai")[label] for label in labels]
    parts = ("val", "train")[split != "test"]
    names = [f"{n % 1000:03d}_{s}_{n:08d}" for n, s in zip(numbers, subsets, strict=True)]
    stems = [f"{s}/imagenet_ai_{s}/{parts}/{f}/{n}" for s, f, n in zip(subsets, folders, names, strict=True)]
    sizes = rng.integers(20_000, 180_000, len(numbers))
    sides = rng.choice([256, 512, 1024], len(numbers)).astype(np.int32)
    columns = {
        "key": [f"{stem}%2Epng" for stem in stems],
        "tar": [tar] * len(numbers),
        "row": np.arange(len(numbers), dtype=np.int32),
        "offset": np.cumsum(sizes),
        "size": sizes,
        "label": labels.astype(np.int8),
        "image_source": [s if label else "real" for s, label in zip(subsets, labels, strict=True)],
        "subset": subsets,
        "split": [split] * len(numbers),
        "group": [f"{stem}%2Epng" for stem in stems],
        "derived_from": [None] * len(numbers),
        "class_name": [f"class {n % 1000}" for n in numbers],
        "source_path": [f"{stem}.png" for stem in stems],
        "sha256": [hashlib.sha256(stem.encode()).hexdigest() for stem in stems],
        "width": sides,
        "height": sides,
        "format": ["PNG" if label else "JPEG" for label in labels],
        "jpeg_quality": pa.array([None if label else 95 for label in labels], pa.int16()),
    }
    return pa.table([pa.array(columns[f.name], f.type) for f in INDEX_SCHEMA], schema=INDEX_SCHEMA)


def write_stores(dataset: Dataset, folder: Path, model: str) -> None:
    """A store of maps of Stable Diffusion's size at 256 px, with two rejected rows, under the name of every tar.

    One real store a number of rows is written and linked: the rows' keys are those of its first tar, which nothing
    that is measured looks at.
    """
    config = launch_settings(dataset.folder, folder, model)
    prepared = Model.prepare(config, dataset, config.needs)
    method, hashes = make_method(config, prepared.folder), prepared.folder.hashes()
    fingerprint = compute_fingerprint(config, config.variants[0], prepared, method, hashes)
    cache = create_cache(folder, dataset.dataset_id, fingerprint)
    for n, entry in enumerate(dataset.tars):
        template = folder.parent / f"template-{entry.num_rows}.zarr.zip"
        if not template.exists():
            cache.write(store_name(entry.name), _shard(dataset, n)).rename(template)
        os.link(template, folder / store_name(entry.name))


def launch_settings(data: Path, cache: Path, model: str) -> ExtractConfig:
    """Settings of an extraction that fits the cache."""
    return ExtractConfig(data=str(data), cache=str(cache), model=model, image_size=64, device="cpu")


def _shard(dataset: Dataset, n: int) -> ShardData:
    rows, entry = dataset.rows(n), dataset.tars[n]
    lare = np.random.default_rng(0).gamma(2.0, 0.5, (len(rows), 4, 32, 32)).astype(np.float32)
    status = np.full(len(rows), Status.OK, np.uint8)
    rejected = {"0": "empty file", str(len(rows) - 1): "PNG cannot be decoded (OSError: image file is truncated)"}
    for row in map(int, rejected):
        lare[row], status[row] = np.nan, Status.UNREADABLE
    return ShardData(
        keys=rows["key"].to_pylist(),
        lare=lare,
        status=status,
        image_sha256=np.zeros((len(rows), 32), np.uint8),
        attributes={"tar": entry.name, "rows_sha256": entry.rows_sha256, "seconds": 40.0, "reasons": rejected},
    )
