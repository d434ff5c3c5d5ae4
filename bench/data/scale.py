"""The metadata of a dataset of millions of samples without its images: index, dataset.json, and stores' attributes."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cache_schema import DATASET_VERSION, INDEX_SCHEMA, Dataset, ShardData, Status, TarEntry, create_cache, store_name
from extract import ExtractConfig, compute_fingerprint, make_method
from extract.run.model import Model

ROWS = 4096
TARS_AT_ONCE = 64
SOURCES = ("adm", "biggan", "glide", "midjourney", "sdv4", "sdv5", "vqdm", "wukong")
TEST_SHARE = 100_000 / 2_681_167
"""GenImage's own validation folders: 50,000 real and 50,000 generated."""
DATASET_ID = "0" * 64
ROWS_SHA256 = "1" * 64
"""Of every tar: nothing that is measured reads the rows that it would be the hash of."""


def write_tables(folder: Path, num_samples: int) -> Dataset:
    """Write index and dataset.json, as packing would: 4,096 rows a tar, half of them generated, by eight sources.

    Some tars at a time, so that it takes no more memory for more samples.
    """
    folder.mkdir(parents=True)
    entries: list[TarEntry] = []
    numbers: dict[str, int] = {}
    with pq.ParquetWriter(folder / "index.parquet", INDEX_SCHEMA, compression="zstd", write_page_checksum=True) as file:
        start = 0
        while start < num_samples:
            split = _split_of(start / num_samples)
            tars: list[TarEntry] = []
            while start < num_samples and len(tars) < TARS_AT_ONCE and _split_of(start / num_samples) == split:
                number = numbers[split] = numbers.get(split, -1) + 1
                rows = min(ROWS, num_samples - start)
                tars.append(TarEntry(f"{split}-{number:06d}.tar", rows, 400_000_000, ROWS_SHA256))
                start += rows
            first = start - sum(tar.num_rows for tar in tars)
            file.write_table(_rows(np.arange(first, start), tars, split), row_group_size=ROWS)
            entries += tars
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


def _rows(numbers: np.ndarray, tars: Sequence[TarEntry], split: str) -> pa.Table:
    """Rows of some tars, with keys, paths and hashes as long as real ones."""
    num, rng = len(numbers), np.random.default_rng(int(numbers[0]))
    labels, places = rng.integers(0, 2, num), rng.integers(0, len(SOURCES), num)
    subsets, is_real = pa.array(SOURCES).take(pa.array(places)), pa.array(labels == 0)
    in_tars = np.concatenate([np.arange(tar.num_rows) for tar in tars])
    of_tars = pa.array([tar.name for tar in tars]).take(
        pa.array(np.repeat(np.arange(len(tars)), [t.num_rows for t in tars]))
    )
    part = ("val", "train")[split != "test"]
    folders = pa.array([f"{s}/imagenet_ai_{s}/{part}/{f}/" for s in SOURCES for f in ("nature", "ai")])
    name = _join(_padded(numbers % 1000, 3), _join(subsets, _padded(numbers, 9), "_"), "_")
    stems = _join(folders.take(pa.array(2 * places + labels)), name, "")
    keys = _join(stems, "png", "%2E")
    sizes, sides = rng.integers(20_000, 180_000, num), rng.choice([256, 512, 1024], num)
    columns: dict[str, Any] = {
        "key": keys,
        "tar": of_tars,
        "row": in_tars,
        "offset": np.cumsum(sizes),
        "size": sizes,
        "label": labels,
        "image_source": pc.if_else(is_real, "real", subsets),
        "subset": subsets,
        "split": pa.array([split]).take(pa.array(np.zeros(num, np.int8))),
        "group": keys,
        "derived_from": pa.nulls(num, pa.string()),
        "class_name": _join("class", pa.array(numbers % 1000).cast(pa.string()), " "),
        "source_path": _join(stems, "png", "."),
        "sha256": _hashes(rng, num),
        "width": sides,
        "height": sides,
        "format": pc.if_else(is_real, "JPEG", "PNG"),
        "jpeg_quality": pa.array(np.full(num, 95), mask=labels == 1),
    }
    arrays = [c if isinstance(c, pa.Array) else pa.array(c) for c in (columns[f.name] for f in INDEX_SCHEMA)]
    return pa.table([a.cast(f.type) for a, f in zip(arrays, INDEX_SCHEMA, strict=True)], schema=INDEX_SCHEMA)


def _join(first: Any, second: Any, separator: str) -> pa.Array:
    return pc.binary_join_element_wise(first, second, separator)


def _padded(values: np.ndarray, width: int) -> pa.Array:
    return pc.utf8_lpad(pa.array(values).cast(pa.string()), width=width, padding="0")


def _hashes(rng: np.random.Generator, num: int) -> pa.Array:
    """Random texts of 64 hexadecimal digits."""
    digits = np.frombuffer(rng.bytes(32 * num).hex().encode(), np.uint8)
    places = np.arange(0, 64 * (num + 1), 64, dtype=np.int32)
    return pa.StringArray.from_buffers(num, pa.py_buffer(places), pa.py_buffer(digits))


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
