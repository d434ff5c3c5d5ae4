"""Small real samples: noise pictures, encoded as PNG."""

import hashlib
import io
from typing import Any

import numpy as np
from PIL import Image

from cache_schema import Sample, SampleFields, ShardData, Status, TarEntry, sample_key


def encode_png(pixels: np.ndarray) -> bytes:
    """(h, w, 3) uint8 → PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_sample(i: int, *, image: bytes | None = None, size_px: int = 16, **changes: Any) -> Sample:
    """Sample i: odd numbers are generated, even ones real, all by one encoder."""
    if image is None:
        image = encode_png(np.random.default_rng(i).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8))
    source = "toy" if i % 2 else "real"
    fields: dict[str, Any] = {
        "label": i % 2,
        "image_source": source,
        "subset": "toy",
        "split": "train",
        "group": f"scene-{i}",
        "derived_from": None,
        "class_name": None,
        "source_path": f"{source}/{i}.png",
        "sha256": hashlib.sha256(image).hexdigest(),
        "width": size_px,
        "height": size_px,
        "format": "PNG",
        "jpeg_quality": None,
        **changes,
    }
    return Sample(sample_key(fields["source_path"]), "png", image, SampleFields(**fields))


def make_shard(rows: Any, entry: TarEntry, shape: tuple[int, int, int] = (4, 8, 8), seed: int = 0) -> ShardData:
    """Features of a tar's index rows: random maps of the given (c, h, w), all ok."""
    n = len(rows)
    return ShardData(
        keys=rows["key"].to_pylist(),
        lare=np.random.default_rng(seed).gamma(2.0, 0.5, (n, *shape)).astype(np.float32),
        status=np.full(n, Status.OK, dtype=np.uint8),
        image_sha256=np.frombuffer(bytes.fromhex("".join(rows["sha256"].to_pylist())), np.uint8).reshape(n, 32),
        attributes={"tar": entry.name, "rows_sha256": entry.rows_sha256, "reasons": {}, "provenance": {}},
    )
