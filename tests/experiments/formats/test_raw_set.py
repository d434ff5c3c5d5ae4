from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cache_schema import Dataset, read_image_bytes
from experiments.formats.raw_set import COMMON_QUALITY, MANIFEST, cut_square, make_raw_set
from extract.packing.inspecting import inspect_bytes
from extract.packing.pack import PackConfig, pack
from tests.experiments.small_set import write_small_set


@pytest.fixture
def small(photographs: Path, tmp_path: Path) -> Dataset:
    return write_small_set(tmp_path / "small", photographs, is_matched=True)


def test_squares_are_as_large_as_what_tiles_show(photographs: Path) -> None:
    pixels = np.arange(150 * 180 * 3, dtype=np.uint32).reshape(150, 180, 3)
    cuts = [cut_square(pixels, f"photo-{i}") for i in range(300)]
    sides = {square.shape[0] for square, _ in cuts}
    assert all(square.shape == (side := square.shape[0], side, 3) for square, _ in cuts)
    assert min(sides) >= round(150 * 64 / 144) and max(sides) <= round(150 * 64 / 72) and len(sides) > 40
    for square, _ in cuts[::20]:
        top, left = divmod(int(square[0, 0, 0]) // 3, 180)
        assert np.array_equal(square, pixels[top : top + len(square), left : left + len(square)])
    qualities = Counter(quality for _, quality in cuts)
    assert 120 < qualities[COMMON_QUALITY] < 180 and set(qualities) <= {*range(75, 97)} and len(qualities) > 15
    again, quality = cut_square(pixels, "photo-7")
    assert np.array_equal(again, cuts[7][0]) and quality == cuts[7][1]


def test_raw_set_is_packed_with_splits_and_groups_of_the_dataset(
    small: Dataset, photographs: Path, tmp_path: Path
) -> None:
    make_raw_set(small.folder, photographs, tmp_path / "raw")
    dataset = pack(PackConfig(tmp_path / "raw" / MANIFEST, tmp_path / "packed", num_workers=1))
    before = small.table().to_pylist()
    rows = dataset.table().to_pylist()
    assert Counter(row["label"] for row in rows) == {0: 24, 1: 48}
    for label, source in ((0, "real"), (1, "derived"), (1, "free")):
        kept = Counter(
            (row["split"], row["group"], row["class_name"])
            for row in rows
            if (row["label"], row["image_source"]) == (label, source)
        )
        named = (row for row in before if row["image_source"] == source)
        assert kept == Counter((row["split"], row["group"], row["class_name"]) for row in named)
    assert {row["subset"] for row in rows} == {"raw"}
    reals = [row for row in rows if row["label"] == 0]
    assert {row["format"] for row in reals} == {"JPEG"} and all(64 <= row["width"] <= 134 for row in reals)
    assert len({row["jpeg_quality"] for row in reals}) > 1
    hashes = {row["sha256"] for row in before if row["label"] == 1}
    assert {row["sha256"] for row in rows if row["label"] == 1} == hashes


def test_files_lie_as_in_genimage(small: Dataset, photographs: Path, tmp_path: Path) -> None:
    make_raw_set(small.folder, photographs, tmp_path / "raw")
    listed = pq.read_table(tmp_path / "raw" / MANIFEST).to_pylist()
    folders = Counter("/".join(row["path"].split("/")[1:4]) for row in listed)
    assert folders == {f"imagenet_toy/{s}/{k}": n for s, k, n in [
        ("train", "nature", 18), ("train", "ai", 36), ("val", "nature", 6), ("val", "ai", 12)
    ]}  # fmt: skip
    assert all((tmp_path / "raw" / row["path"]).is_file() for row in listed)


def test_photographs_that_are_not_there_are_named(small: Dataset, tmp_path: Path) -> None:
    (tmp_path / "photos" / "flowers").mkdir(parents=True)
    Image.new("RGB", (150, 150)).save(tmp_path / "photos" / "flowers" / "0.png")
    with pytest.raises(ValueError, match=r"12 of the photographs behind the 24 photo tiles .*daisy/0\.png"):
        make_raw_set(small.folder, tmp_path / "photos", tmp_path / "raw")


def test_jpeg_qualities_are_standard_ones(small: Dataset, photographs: Path, tmp_path: Path) -> None:
    make_raw_set(small.folder, photographs, tmp_path / "raw")
    for file in sorted((tmp_path / "raw").rglob("*.jpg"))[:5]:
        assert inspect_bytes(file.read_bytes()).jpeg_quality in range(75, 97)
    first = small.rows(0).to_pylist()[2]
    path = tmp_path / "raw" / "raw" / "imagenet_toy" / "train" / "ai" / first["source_path"]
    assert path.read_bytes() == read_image_bytes(small.tar_path(0), first["offset"], first["size"])
