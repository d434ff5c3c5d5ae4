"""The measures of object storage at tiny sizes: that they run, what they are called, and what they leave."""

import os
from pathlib import Path

import pytest

from bench.config import BenchConfig
from bench.measures.storage import measure_storage
from bench.runner import Context
from cache_schema import ObjectPath, list_names
from tests.models import save_tiny_sd


def test_extraction_and_epochs_are_compared_with_a_disk(root: ObjectPath, tmp_path: Path) -> None:
    copies = os.environ["LARE_CACHE_DIR"]
    model = save_tiny_sd(tmp_path / "sd")
    (tmp_path / "work").mkdir()
    config = BenchConfig(
        runs=1,
        toy_model=str(model),
        ensemble_size=1,
        toy_batch_size=2,
        storage=str(root),
        storage_images=8,
        storage_epoch_images=96,
    )
    context = Context(config, tmp_path / "work")
    figures = {figure.measure: figure for figure in measure_storage(context)}
    assert set(figures) == {
        "extraction_bucket_over_disk",
        "extraction_bucket_over_disk.disk",
        "extraction_bucket_over_disk.bucket",
        "epoch_bucket_cold_over_disk",
        "epoch_bucket_warm_over_disk",
        *(f"epoch_bucket.{side}" for side in ("disk", "cold", "warm")),
    }
    assert all(figure.low > 0 for figure in figures.values())
    assert os.environ["LARE_CACHE_DIR"] == copies
    stores = [name for name in list_names(root / "extraction" / "cache") if name.endswith(".zip")]
    assert len(stores) == 4
    with pytest.raises(ValueError, match="is there: pass a new folder"):
        measure_storage(context)
