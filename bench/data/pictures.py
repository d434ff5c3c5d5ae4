"""Pictures to measure on: noise of several scales, whose JPEG files are as large as a photograph's."""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache_schema import Dataset, Sample, SampleFields, open_image, sample_key, write_dataset

JPEG_QUALITY = 90
_ROUGHNESS = (0.3, 0.65)
"""Exponents of amplitude over scale, the roughest and the smoothest picture's: 500 × 375 px give JPEG files of about 40
to 80 kB, as photographs of that size do, and decoding takes as long as theirs."""


def make_picture(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """A picture with structure at every scale and more grey than colour contrast, (height, width, 3), uint8."""
    rng = np.random.default_rng(seed)
    exponent = rng.uniform(*_ROUGHNESS)
    total = np.zeros((height, width, 3), np.float32)
    scale = 1
    while scale <= max(1, max(width, height) // 2):
        shape = -(-height // scale) + 1, -(-width // scale) + 1
        grid = rng.standard_normal((*shape, 1), np.float32) + 0.4 * rng.standard_normal((*shape, 3), np.float32)
        for channel in range(3):
            smooth = Image.fromarray(grid[..., channel]).resize((width, height), Image.Resampling.BICUBIC)
            total[..., channel] += scale**exponent * np.asarray(smooth)
        scale *= 2
    pixels: NDArray[np.uint8] = (120 + total * (55 / total.std())).clip(0, 255).astype(np.uint8)
    return pixels


def make_jpegs(num_pictures: int, long_side_px: int) -> Iterator[bytes]:
    """Different pictures in landscape format, as JPEG files."""
    for seed in range(num_pictures):
        buffer = io.BytesIO()
        picture = make_picture(seed, long_side_px, max(1, long_side_px * 3 // 4))
        Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
        yield buffer.getvalue()


def pack_jpegs(
    folder: Path,
    jpegs: Sequence[bytes],
    rows_per_tar: int,
    changes: Callable[[int], dict[str, Any]] = lambda _: {},
    *,
    last_first: bool = False,
) -> Dataset:
    """A new dataset of the pictures, in their order.

    Args:
        folder: New folder.
        jpegs: The pictures.
        rows_per_tar: Most of them a tar.
        changes: Number of a picture → fields that differ from a training photograph's.
        last_first: Whether the order is turned round; each picture keeps its key.
    """
    numbered = [*enumerate(jpegs)][:: -1 if last_first else 1]
    samples = (_sample(number, data, changes(number)) for number, data in numbered)
    return write_dataset(folder, samples, {"made_by": "python -m bench"}, max_rows=rows_per_tar)


def save_jpegs(folder: Path, jpegs: Sequence[bytes]) -> list[Path]:
    """The pictures as files of a new folder, in their order."""
    folder.mkdir()
    files = []
    for number, data in enumerate(jpegs):
        files.append(folder / f"{number:06d}.jpg")
        files[-1].write_bytes(data)
    return files


def _sample(number: int, data: bytes, changes: dict[str, Any]) -> Sample:
    path = f"real/{number:06d}.jpg"
    width, height = open_image(io.BytesIO(data)).size
    fields = {
        "label": 0,
        "image_source": "real",
        "subset": "bench",
        "split": "train",
        "group": path,
        "derived_from": None,
        "class_name": None,
        "source_path": path,
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": width,
        "height": height,
        "format": "JPEG",
        "jpeg_quality": JPEG_QUALITY,
    }
    return Sample(sample_key(path), "jpg", data, SampleFields(**fields | changes))
