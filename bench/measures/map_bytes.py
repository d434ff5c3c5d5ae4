"""Bytes on the disk: a store's share for one map over a file that torch.save makes of one float32 map."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from bench.data.pictures import make_jpegs, pack_jpegs
from bench.measures.feed import gamma_maps
from bench.runner import Context, Figure, ratio, reading
from cache_schema import Fingerprint, ShardData, create_cache, open_cache
from extract import ExtractConfig, Job

NAME = "map_bytes_over_pt"
SHAPE = (4, 32, 32)
"""Of a map of Stable Diffusion 1.5 at 256 px."""
STORED = {"f16": (10, "≤ 0.36"), "7bit": (7, "≤ 0.29")}
"""Name → mantissa bits kept in float16, and its target."""


def disk_bytes(path: Path) -> int:
    """Bytes that a file takes on its disk, in whole blocks."""
    return path.stat().st_blocks * 512


def store_bytes_per_map(folder: Path, maps: np.ndarray, mantissa_bits: int) -> float:
    """Bytes on the disk of a store of these maps, divided by their number.

    Args:
        folder: New cache folder.
        maps: (N, c, h, w), float32.
        mantissa_bits: Bits kept in float16.
    """
    fields: dict[str, int | str] = {"stored_dtype": "float16", "mantissa_bits": mantissa_bits}
    keys = [f"real/{i:06d}%2Ejpg" for i in range(len(maps))]
    hashes = b"".join(hashlib.sha256(key.encode()).digest() for key in keys)
    shard = ShardData(
        keys=keys,
        lare=maps,
        status=np.zeros(len(maps), np.uint8),
        image_sha256=np.frombuffer(hashes, np.uint8).reshape(-1, 32),
        attributes={"tar": "train-000000.tar", "reasons": {}, "provenance": {}},
    )
    return disk_bytes(create_cache(folder, "bench", Fingerprint(fields)).write("train-000000.zarr.zip", shard)) / len(
        maps
    )


def pt_bytes_per_map(folder: Path, maps: np.ndarray) -> float:
    """Bytes on the disk of one .pt file a map, on average."""
    folder.mkdir()
    sizes = []
    for i, lare in enumerate(torch.from_numpy(maps)):
        torch.save(lare.clone(), folder / f"{i}.pt")  # without clone the file would hold all maps
        sizes.append(disk_bytes(folder / f"{i}.pt"))
    return float(np.mean(sizes))


def toy_maps(context: Context, num_images: int) -> np.ndarray:
    """Maps of the small model at 128 px, whose 8 × 32 × 32 cells are taken as two maps of 4 channels each."""
    config = context.config
    data = pack_jpegs(context.folder / "data", list(make_jpegs(num_images, 2 * SHAPE[1] * 4)), num_images)
    settings = ExtractConfig(
        data=str(data.folder),
        cache=str(context.folder / "toy"),
        model=config.toy_model,
        image_size=SHAPE[1] * 4,
        timestep=config.timestep,
        ensemble_size=config.ensemble_size,
        stored_dtype="float32",
        num_workers=0,
        device=config.device,
    )
    Job.prepare(settings).run()
    cache = open_cache(settings.cache)
    maps = cache.read(cache.shards()[0]).lare
    return maps.reshape(-1, *SHAPE)


def measure_map_bytes(context: Context) -> list[Figure]:
    """Both ways of storing, on synthetic maps with another seed each run, and on maps of the small model."""
    config = context.config
    figures = []
    kinds = {
        "": ("synthetic gamma-like maps", [gamma_maps(config.map_rows, SHAPE, seed) for seed in range(config.runs)]),
        "_toy": ("maps of the small model, 8 channels as two maps", [toy_maps(context, -(-config.map_rows // 4))]),
    }
    for kind, (text, batches) in kinds.items():
        pt = [pt_bytes_per_map(context.folder / f"pt{kind}{i}", maps) for i, maps in enumerate(batches)]
        figures.append(reading(f"{NAME}{kind}.pt", pt, "bytes", f"one .pt file on the disk; {text}"))
        for name, (bits, target) in STORED.items():
            folders = [context.folder / f"{name}{kind}{i}" for i in range(len(batches))]
            ours = [store_bytes_per_map(f, maps, bits) for f, maps in zip(folders, batches, strict=True)]
            figures.append(ratio(f"{NAME}_{name}{kind}", ours, pt, f"bytes on the disk; {text}", target))
            figures.append(reading(f"{NAME}_{name}{kind}.store", ours, "bytes", f"a map, {bits} mantissa bits"))
    return figures
