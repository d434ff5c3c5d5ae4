"""How far each number format of the models moves a map, and its assumed cost at Stable Diffusion 1.5's sizes."""

from collections import Counter
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from bench.data.pictures import make_jpegs, pack_jpegs
from bench.measures.operations import count_parts, sd15_shapes
from bench.runner import Context, Figure, reading
from cache_schema import open_cache
from extract import ExtractConfig, Job
from extract.config import ComputeDtype
from extract.models.costs import seconds_on
from extract.models.number_formats import split_formats

NAME = "precision"
SD15_PX, DRAWS = 256, 4
"""What costs are of: the paper's setting."""


def list_formats(device: str) -> list[ComputeDtype]:
    """All but fp32 that a device computes in; a CPU has no TF32."""
    return [name for name in get_args(ComputeDtype) if name != "fp32" and (device == "cuda" or "tf32" not in name)]


def measure_precision(context: Context) -> list[Figure]:
    """Relative L2 error of a map to fp32's, median and worst of the small model's images; assumed time over bf16's."""
    config = context.config
    jpegs = list(make_jpegs(config.toy_images, config.toy_picture_px))
    data = pack_jpegs(context.folder / "data", jpegs, rows_per_tar=len(jpegs))

    def make_maps(compute_dtype: ComputeDtype) -> NDArray[np.float64]:
        extraction = ExtractConfig(
            data=str(data.folder),
            cache=str(context.folder / compute_dtype.replace("/", "-")),
            model=config.toy_model,
            image_size=config.toy_image_size,
            timestep=config.timestep,
            ensemble_size=config.ensemble_size,
            compute_dtype=compute_dtype,
            stored_dtype="float32",
            batch_size=config.toy_batch_size,
            num_workers=0,
            device=config.device,
        )
        Job.prepare(extraction).run()
        cache = open_cache(extraction.cache)
        return np.concatenate([cache.read(name).lare for name in cache.shards()]).astype(np.float64)

    expected = make_maps("fp32")
    size = np.linalg.norm(expected.reshape(len(expected), -1), axis=1)
    figures = []
    for name in list_formats(config.device):
        moved = np.linalg.norm((make_maps(name) - expected).reshape(len(expected), -1), axis=1) / size
        figures += [
            reading(f"{NAME}.{name}", [float(np.median(moved))], "", f"|Δ| / |a| to fp32, {len(moved)} images"),
            reading(f"{NAME}.{name}.worst", [float(moved.max())], "", "of the image that is moved most"),
            reading(f"{NAME}.{name}.time", [assumed_time(name)], "×", "of bf16's, by assumed rates of a GPU; SD 1.5"),
        ]
    return figures


def assumed_time(compute_dtype: ComputeDtype) -> float:
    """Time of an image at Stable Diffusion 1.5's sizes over that of bf16."""
    parts = {name: macs for name, (macs, _) in count_parts(sd15_shapes(SD15_PX)).items()}

    def seconds(formats: tuple[str, str]) -> float:
        macs = Counter({formats[1]: parts["vae_encoder"]})
        macs[formats[0]] += DRAWS * parts["unet"]
        return seconds_on("cuda", macs)

    return seconds(split_formats(compute_dtype)) / seconds(("bf16", "bf16"))
