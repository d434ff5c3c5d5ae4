"""What a file of a source may cost: pixels and bytes, by settings, recorded as rejections with their reasons."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_schema import Dataset, DatasetError
from extract.packing.config import PackConfig
from extract.packing.pack import pack


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Pictures of 10 x 10 and 30 x 20 pixels in both classes."""
    for source in ("real", "toy"):
        (tmp_path / "src" / source).mkdir(parents=True)
        for i in range(4):
            size = (10, 10, 3) if i % 2 else (20, 30, 3)
            pixels = np.random.default_rng([i, len(source)]).integers(0, 256, size, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "src" / source / f"{i}.png")
    return tmp_path / "src"


def num_images(dataset: Dataset) -> int:
    return sum(len(dataset.rows(n)) for n in range(len(dataset.tars)))


def rejected(folder: Path) -> dict[str, str]:
    with (folder / "rejected.csv").open() as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("workers", [1, 2])
def test_larger_pictures_are_rejected_with_their_size(src: Path, tmp_path: Path, workers: int) -> None:
    dataset = pack(PackConfig(src, tmp_path / "out", max_pixels=599, num_workers=workers))
    assert num_images(dataset) == 4
    assert rejected(tmp_path / "out") == dict.fromkeys(
        (f"{source}/{i}.png" for source in ("real", "toy") for i in (0, 2)), "30 x 20 pixels, at most 599"
    )


def test_larger_files_are_rejected_with_their_size(src: Path, tmp_path: Path) -> None:
    most = (src / "toy" / "1.png").stat().st_size + 100
    pack(PackConfig(src, tmp_path / "out", max_file_bytes=most, num_workers=1))
    reasons = rejected(tmp_path / "out")
    assert len(reasons) == 4 and all(reason.endswith(f" bytes, at most {most}") for reason in reasons.values())


def test_limits_hold_for_a_packed_dataset_as_the_source(src: Path, tmp_path: Path) -> None:
    pack(PackConfig(src, tmp_path / "whole", num_workers=1))
    most = (src / "toy" / "1.png").stat().st_size + 100
    for name, limit in (("pixels", {"max_pixels": 599}), ("bytes", {"max_file_bytes": most})):
        dataset = pack(PackConfig(tmp_path / "whole", tmp_path / name, num_workers=1, **limit))
        assert num_images(dataset) == 4


def test_usual_limits_are_no_part_of_the_settings_and_others_are(src: Path, tmp_path: Path) -> None:
    usual = PackConfig(src, tmp_path / "out").settings("folders")
    assert "max_pixels" not in usual and "max_file_bytes" not in usual
    pack(PackConfig(src, tmp_path / "out", max_pixels=599, num_workers=1))
    with pytest.raises(DatasetError, match="max_pixels"):
        pack(PackConfig(src, tmp_path / "out", append=True, num_workers=1))


@pytest.mark.parametrize(
    "limit", [{"max_pixels": 0}, {"max_pixels": 100_000_001}, {"max_file_bytes": 0}, {"max_file_bytes": 2**30 + 1}]
)
def test_limits_are_never_above_what_readers_take(src: Path, tmp_path: Path, limit: dict[str, Any]) -> None:
    (name,) = limit
    with pytest.raises(ValueError, match=rf"{name} is \d+: expected 1 … \d+"):
        PackConfig(src, tmp_path / "out", **limit)
