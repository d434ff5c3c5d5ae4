"""A dataset with its caches and the arrays they must give: `python -m tests.cache_schema.formats FOLDER` writes it.

`tests/data/format-<version>` is what this wrote when that version of the format was the present one. Another
environment writes such a folder too, and each reads the other's.
"""

import json
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa

from cache_schema import (
    REJECTED_SCHEMA,
    Cache,
    Dataset,
    Fingerprint,
    ShardData,
    Status,
    append_dataset,
    create_cache,
    non_finite_reason,
    store_name,
    write_dataset,
)
from tests.samples import make_sample, make_shard

VARIANTS: dict[str, dict[str, int | str]] = {
    "float16": {"compute_dtype": "fp32", "timestep": 200, "stored_dtype": "float16", "mantissa_bits": 10},
    "float16-7-bits": {"compute_dtype": "fp32", "timestep": 200, "stored_dtype": "float16", "mantissa_bits": 7},
    "float32": {"compute_dtype": "bf16", "timestep": 261, "stored_dtype": "float32", "mantissa_bits": 23},
}
"""Cache folder → its settings."""
REJECTED_ROW, RETRIED_ROW = 1, 2
LIBRARIES = ("zarr", "numcodecs", "numpy", "pyarrow")


def shard_of(dataset: Dataset, n: int) -> ShardData:
    """Features of tar n; of the first tar's rows one was rejected and one is from a second try."""
    shard = make_shard(dataset.rows(n), dataset.tars[n], seed=n)
    if n:
        return shard
    shard.lare[REJECTED_ROW] = np.nan
    shard.status[[REJECTED_ROW, RETRIED_ROW]] = Status.NON_FINITE, Status.OK_AFTER_FP32
    reasons = {str(REJECTED_ROW): non_finite_reason("float16")}
    return replace(shard, attributes={**shard.attributes, "reasons": reasons})


def write_caches(folder: Path, dataset: Dataset) -> list[Cache]:
    """A cache of each variant, with a store of each tar."""
    caches = [create_cache(folder / name, dataset.dataset_id, Fingerprint(fields)) for name, fields in VARIANTS.items()]
    for cache in caches:
        for n, entry in enumerate(dataset.tars):
            cache.write(store_name(entry.name), shard_of(dataset, n))
    return caches


def write_all(folder: Path) -> None:
    """Dataset, caches, what their arrays must be, and the versions of the libraries that wrote them."""
    samples = [make_sample(i, split=("train", "train", "test")[i % 3]) for i in range(9)]
    samples[0] = make_sample(0, class_name="cafe\u0301 ✓", jpeg_quality=95)
    rejected = pa.Table.from_pylist([{"path": "é.png", "reason": "empty file"}], schema=REJECTED_SCHEMA)
    write_dataset(folder / "data", samples[:6], {"seed": 0}, max_rows=3, rejected=rejected)
    dataset, _ = append_dataset(folder / "data", samples, {"seed": 0}, max_rows=3, rejected=rejected)
    expected = {}
    for cache in write_caches(folder, dataset):
        for name in cache.shards():
            shard = cache.read(name)
            expected |= {
                f"{cache.folder.name}/{name}/{array}": getattr(shard, array)
                for array in ("lare", "status", "image_sha256")
            }
            expected[f"{cache.folder.name}/{name}/key"] = np.array(shard.keys)
    np.savez_compressed(folder / "expected.npz", **expected)
    versions = {library: version(library) for library in LIBRARIES}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
