"""A cache with every store of the small dataset, and ways to damage one."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cache_schema import Cache, Dataset, Fingerprint, create_cache, store_name
from tests.samples import make_shard

FIELDS: dict[str, int | str] = {
    "compute_dtype": "fp32",
    "timestep": 200,
    "stored_dtype": "float16",
    "mantissa_bits": 10,
}
NAME = "train-000000.zarr.zip"


def fill_cache(folder: Path, dataset: Dataset, **fields: int | str) -> Cache:
    """A cache with every store of a dataset."""
    cache = create_cache(folder, dataset.dataset_id, Fingerprint({**FIELDS, **fields}))
    for n, entry in enumerate(dataset.tars):
        cache.write(store_name(entry.name), make_shard(dataset.rows(n), entry, seed=n))
    return cache


@pytest.fixture
def cache(dataset: Dataset, tmp_path: Path) -> Cache:
    """A cache with every store of `dataset`."""
    return fill_cache(tmp_path / "cache", dataset)


def rewrite(path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """Change the entries of a store and write them as a valid zip again."""
    with zipfile.ZipFile(path) as source:
        entries = {i.filename: source.read(i) for i in source.infolist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as target:
        for entry, data in entries.items():
            target.writestr(entry, data)
