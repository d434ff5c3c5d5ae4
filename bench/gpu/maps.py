"""Are a GPU's maps those of a CPU, of another batch size, of another process, of another number format?"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from bench.gpu.outcome import Outcome, judged
from bench.gpu.setting import TOY_PX, Setting
from bench.measures.precision import assumed_time
from cache_schema import Cache, Dataset, Status, open_cache
from extract import ExtractConfig, Job
from extract.config import ComputeDtype

Maps = Mapping[str, NDArray[np.float32]]
"""Key → map."""
MAX_ERROR_FP32 = 1e-4
"""Largest error over the largest value, of fp32 maps made in another order of additions."""
BATCH_SIZES = 1, 4, 32
OVERFLOWING = 1e5
"""Factor of the first convolution: its result has no float16, and the rest of the network has."""


def check_cpu(setting: Setting) -> list[Outcome]:
    """A whole job on the device against one on the CPU."""
    found, expected = (_extract(setting, setting.toy_data, name, device=name) for name in (setting.device.type, "cpu"))
    error = _largest_error(found, expected)
    return [judged("maps as of the CPU", f"max |Δ| / max |a| = {error:.1e} in fp32", error <= MAX_ERROR_FP32)]


def check_batches(setting: Setting) -> list[Outcome]:
    """Another batch size, a last batch that is padded, and another order of the images, in each number format."""
    outcomes = []
    data = setting.toy_data
    for dtype in (name for name in get_args(ComputeDtype) if "/" not in name):
        expected = _extract(setting, data, f"whole-{dtype}", compute_dtype=dtype, batch_size=BATCH_SIZES[-1])
        others = {
            f"batch {size}": _extract(setting, data, f"{size}-{dtype}", compute_dtype=dtype, batch_size=size)
            for size in BATCH_SIZES[:-1]
        }
        others["padded"] = _extract(setting, data, f"7-{dtype}", compute_dtype=dtype, batch_size=7)
        others["other order"] = _extract(
            setting, setting.turned_data, f"turned-{dtype}", compute_dtype=dtype, batch_size=32
        )
        errors = {name: _largest_error(maps, expected) for name, maps in others.items()}
        text = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        name = f"batches, {dtype}"
        if dtype == "fp32":
            outcomes.append(judged(name, text, max(errors.values()) <= MAX_ERROR_FP32))
        else:
            outcomes.append(Outcome(name, text, "measured"))
    return outcomes


def check_twice(setting: Setting) -> list[Outcome]:
    """The same job in two processes: every bit of every map."""
    caches = []
    for name in ("first", "second"):
        config = _config(setting, setting.toy_data, name)
        file = setting.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(asdict(config)), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "extract", "run", f"--config={file}"], check=True, capture_output=True)
        caches.append(_read(open_cache(config.cache)))
    num_equal = sum(np.array_equal(caches[0][key], caches[1][key], equal_nan=True) for key in caches[0])
    return [
        judged("two processes", f"{num_equal} of {len(caches[0])} maps equal to the bit", num_equal == len(caches[0]))
    ]


def check_precision(setting: Setting) -> list[Outcome]:
    """Each number format, and each pair, against fp32: how far it moves a map, and its assumed cost."""
    expected = _extract(setting, setting.toy_data, "precise")
    outcomes = []
    for dtype in get_args(ComputeDtype):
        if dtype == "fp32":
            continue
        found = _extract(setting, setting.toy_data, f"precision-{dtype.replace('/', '-')}", compute_dtype=dtype)
        moves = [float(np.linalg.norm(found[key] - a) / np.linalg.norm(a)) for key, a in expected.items()]
        error = f"|Δ| / |a| of a map: median {np.median(moves):.2%}, worst {np.max(moves):.2%}"
        text = f"{error}; {assumed_time(dtype):.2f} × bf16's assumed time"
        outcomes.append(Outcome(f"{dtype} to fp32", text, "measured"))
    return outcomes


def check_overflow(setting: Setting) -> list[Outcome]:
    """A model whose fp16 overflows: all images are tried again in fp32, by one more model."""
    model = Path(shutil.copytree(setting.config.toy_model, setting.folder / "overflowing"))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors = {name: value.float() for name, value in tensors.items()}  # the small model's file holds float16
    save_file(tensors | {"conv_in.weight": tensors["conv_in.weight"] * OVERFLOWING}, weights, {"format": "pt"})
    if setting.is_gpu:
        torch.cuda.reset_peak_memory_stats(setting.device)
    config = _config(setting, setting.toy_data, "overflow", model=str(model), compute_dtype="fp16")
    Job.prepare(config).run()
    cache = open_cache(config.cache)
    status = np.concatenate([cache.read(name).status for name in cache.shards()])
    num_again = int((status == Status.OK_AFTER_FP32).sum())
    memory = f", {torch.cuda.max_memory_allocated(setting.device) / 2**20:,.0f} MiB at most" if setting.is_gpu else ""
    text = f"{num_again} of {len(status)} images computed again in fp32{memory}"
    return [judged("fp16 overflow", text, num_again == len(status))]


def _config(setting: Setting, dataset: Dataset, name: str, **changes: Any) -> ExtractConfig:
    settings = {
        "model": setting.config.toy_model,
        "image_size": TOY_PX,
        "ensemble_size": 2,
        "compute_dtype": "fp32",
        "stored_dtype": "float32",
        "batch_size": 16,
        "max_reject_fraction": 1.0,
    }
    return setting.extract_config(dataset.folder, f"{name}-{dataset.folder.name}", **settings | changes)


def _extract(setting: Setting, dataset: Dataset, name: str, **changes: Any) -> Maps:
    config = _config(setting, dataset, name, **changes)
    Job.prepare(config).run()
    return _read(open_cache(config.cache))


def _read(cache: Cache) -> Maps:
    shards = [cache.read(name) for name in cache.shards()]
    return {key: row.astype(np.float32) for shard in shards for key, row in zip(shard.keys, shard.lare, strict=True)}


def _largest_error(found: Maps, expected: Maps) -> float:
    """Largest difference over the largest value; infinite where keys differ or a value is not finite."""
    if found.keys() != expected.keys():
        return np.inf
    ours, theirs = (np.stack([maps[key] for key in expected]).astype(np.float64) for maps in (found, expected))
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return error if np.isfinite(error) else np.inf
