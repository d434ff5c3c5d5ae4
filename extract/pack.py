"""A folder of images to tars and an index: `python -m extract pack --src FOLDER --out FOLDER`.

Every file is looked at once. What cannot be used (empty, truncated, no image, a second copy) goes to `rejected.csv`
with its reason; everything else is packed with its original bytes.
"""

import csv
import functools
import hashlib
import io
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from cache_schema import (
    EXTENSIONS,
    SPLITS,
    Dataset,
    ImageRejected,
    Sample,
    SampleFields,
    decode_image,
    sample_key,
    write_dataset,
)

logger = logging.getLogger(__name__)

REAL = "real"


@dataclass(frozen=True)
class PackConfig:
    """How a folder becomes a dataset."""

    src: Path
    """Folder with `real/` and one folder per image source, or with `train/`, `validation/`, `test/` that hold them."""
    out: Path
    """New folder for dataset.json, index.parquet, the tars and rejected.csv."""
    subset: str = "all"
    """Name of the set that these images are scored in: generated images meet the reals of their own subset."""
    seed: int = 0
    """Seed of the shuffle that mixes the samples, and of the cuts below."""
    validation_fraction: float = 0.02
    """Share of the groups of `train` that becomes `validation`, where the source has no validation folder."""
    test_fraction: float = 0.2
    """Share of the groups that becomes `test`, where the source has no split folders at all."""
    max_rows: int = 4096
    """A tar is closed at this many samples,"""
    max_bytes: int = 2**30
    """or when it has reached this size, whichever comes first."""
    num_workers: int = os.cpu_count() or 1
    """Processes that look at the files."""

    def __post_init__(self) -> None:
        """Check the settings before any file is read."""
        find_splits(self.src)
        for name in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 <= {name} < 1")


@dataclass(frozen=True)
class LookedAt:
    """What one look at a file gave."""

    path: str
    """Below the source folder."""
    sha256: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    jpeg_quality: int | None = None
    rejection: str | None = None


@functools.cache
def standard_quality_of_table() -> dict[tuple[int, ...], int]:
    """Luminance quantisation table → JPEG quality, for the 100 standard tables, as the encoder itself writes them."""
    tables = {}
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        tables[tuple(Image.open(buffer).quantization[0])] = quality  # type: ignore[attr-defined]
    return tables


def look_at(src: Path, path: str) -> LookedAt:
    """Read and decode one file below `src`."""
    data = (src / path).read_bytes()
    try:
        decode_image(data)
    except ImageRejected as error:
        return LookedAt(path, rejection=error.reason)
    image = Image.open(io.BytesIO(data))
    name = "JPEG" if image.format == "MPO" else str(image.format)
    tables = getattr(image, "quantization", None) if name == "JPEG" else None
    quality = standard_quality_of_table().get(tuple(tables[0])) if tables else None
    return LookedAt(path, hashlib.sha256(data).hexdigest(), image.width, image.height, name, quality)


def hash_fraction(seed: int, text: str) -> float:
    """A number in [0, 1) that depends on seed and text alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{text}".encode()).digest()[:8], "big") / 2**64


def split_of(parts: tuple[str, ...], splits: set[str], group: str, config: PackConfig) -> str:
    """Split of a file: its folder's, with validation (and test, if there are no split folders) cut out by group."""
    split = parts[0] if splits else "train"
    if not splits and hash_fraction(config.seed, f"test|{group}") < config.test_fraction:
        return "test"
    if split == "train" and "validation" not in splits:
        return "validation" if hash_fraction(config.seed, group) < config.validation_fraction else "train"
    return split


def find_splits(src: Path) -> set[str]:
    """The split folders that a source folder has; none if the image sources lie directly in it.

    Raises:
        ValueError: If it does not hold `real/` beside image sources, directly or below split folders.
    """
    if not src.is_dir():
        raise ValueError(f"src is {src}: no such folder")
    splits = {name for name in SPLITS if (src / name).is_dir()}
    tops = {p.name for p in src.iterdir() if p.is_dir()}
    if splits and tops != splits:
        raise ValueError(f"{src} holds split folders {sorted(splits)} beside {sorted(tops - splits)}")
    if not any((root / REAL).is_dir() for root in _roots(src, splits)):
        raise ValueError(f"{src}: expected a folder {REAL!r} and one folder per image source, found {sorted(tops)}")
    return splits


def _roots(src: Path, splits: set[str]) -> list[Path]:
    return [src / s for s in sorted(splits)] or [src]


def list_files(src: Path, splits: set[str]) -> list[str]:
    """Paths of all files in image source folders, below `src`, sorted."""
    sources = [folder for root in _roots(src, splits) for folder in root.iterdir() if folder.is_dir()]
    return sorted(p.relative_to(src).as_posix() for folder in sources for p in folder.rglob("*") if p.is_file())


def pack(config: PackConfig) -> Dataset:
    """Pack a folder of class folders.

    Raises:
        ValueError: If the folder holds no usable image.
        DatasetError: If `out` exists.
    """
    splits = find_splits(config.src)
    paths = list_files(config.src, splits)
    with ProcessPoolExecutor(config.num_workers) as pool:
        looks = pool.map(functools.partial(look_at, config.src), paths, chunksize=64)
        looked = list(tqdm(looks, total=len(paths), desc="looking", unit="file"))

    samples: list[tuple[str, SampleFields]] = []
    rejected: list[tuple[str, str]] = []
    first_copy: dict[str, str] = {}
    for look in looked:
        if look.rejection is not None:
            rejected.append((look.path, look.rejection))
        elif look.sha256 in first_copy:
            rejected.append((look.path, f"same bytes as {first_copy[look.sha256]}"))
        else:
            first_copy[look.sha256] = look.path
            samples.append((sample_key(look.path), _fields(look, splits, config)))

    order = np.random.default_rng(config.seed).permutation(len(samples))
    stream = tqdm((samples[i] for i in order), total=len(samples), desc="packing", unit="image")
    settings = {k: v for k, v in asdict(config).items() if k not in ("src", "out", "num_workers")}
    dataset = write_dataset(
        config.out,
        _with_bytes(stream, config.src),
        settings,
        max_rows=config.max_rows,
        max_bytes=config.max_bytes,
    )
    with (config.out / "rejected.csv").open("w", newline="") as f:
        csv.writer(f).writerows([("path", "reason"), *rejected])
    logger.info("%d images in %d tars, %d files rejected", len(samples), len(dataset.tars), len(rejected))
    return dataset


def _fields(look: LookedAt, splits: set[str], config: PackConfig) -> SampleFields:
    parts = tuple(look.path.split("/"))
    source = parts[1] if splits else parts[0]
    key = sample_key(look.path)
    return SampleFields(
        label=0 if source == REAL else 1,
        image_source=source,
        subset=config.subset,
        split=split_of(parts, splits, key, config),
        group=key,
        derived_from=None,
        class_name=None,
        source_path=look.path,
        sha256=look.sha256,
        width=look.width,
        height=look.height,
        format=look.format,
        jpeg_quality=look.jpeg_quality,
    )


def _with_bytes(samples: Iterator[tuple[str, SampleFields]], src: Path) -> Iterator[Sample]:
    for key, fields in samples:
        # Sample compares the hash: a file that changed since it was looked at stops the packing.
        yield Sample(key, EXTENSIONS[fields.format], (src / fields.source_path).read_bytes(), fields)
