"""Photographs against the same photographs after they went through half their size: any detection is a false alarm."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from cache_schema import Dataset, Sample, decode_image, write_dataset
from experiments.study.image_sets import MAX_ROWS, read_samples, with_pixels
from train.scoring.evaluate import evaluate
from train.scoring.intervals import Ends, share_difference_interval
from train.scoring.scores import Reading

K = TypeVar("K", bound=Hashable)
HALF_SIZE = "half-size"
"""Image source of the copies."""


@dataclass(frozen=True)
class FalseAlarms:
    """What half size does to the scores of photographs."""

    auroc: float
    """Chance that a photograph scores higher, more like a generated image, after half size than another before."""
    interval: Ends | None
    sd: float | None
    """Over seeds."""
    num_seeds: int
    """That have trained something."""
    n_groups: int
    """Behind both intervals."""
    called: tuple[float, float]
    """Share of the photographs that are called generated before and after."""
    rise: Ends | None
    """95 % interval of the second share less the first."""


def write_half_size(data: Path, folder: Path) -> Dataset:
    """Write the real test images of a dataset twice as PNG: as they are, and shrunk to half their size and enlarged.

    The copies are controls of image source `HALF_SIZE`, in the photograph's group and subset.
    """
    dataset = Dataset.open(data)
    rows = dataset.table(["key", "label", "split"]).to_pylist()
    keys = {row["key"] for row in rows if row["label"] == 0 and row["split"] == "test"}

    def samples() -> Iterator[Sample]:
        for sample in read_samples(dataset, keys):
            image = decode_image(sample.image)
            yield with_pixels(sample, sample.key, np.asarray(image))
            fields = replace(sample.fields, label=None, image_source=HALF_SIZE, derived_from=sample.key)
            yield with_pixels(
                replace(sample, fields=fields), f"{HALF_SIZE}/{sample.key}", pass_through_half_size(image)
            )

    return write_dataset(folder, samples(), {"half_size_of": dataset.dataset_id}, max_rows=MAX_ROWS)


def pass_through_half_size(image: Image.Image) -> np.ndarray:
    """A picture shrunk to half its sides and enlarged to its size again, both bicubic: (height, width, 3), uint8."""
    half = image.resize([max(1, round(side / 2)) for side in image.size], Image.Resampling.BICUBIC)
    return np.asarray(half.resize(image.size, Image.Resampling.BICUBIC))


def compare_half_size(readings: Mapping[K, Reading]) -> dict[K, FalseAlarms]:
    """Reading → what half size does, on the images of `write_half_size`."""
    blocks = evaluate(readings)["readings"]
    found = {}
    for name, reading in readings.items():
        block = blocks[name]["controls"][HALF_SIZE]
        sources, groups = (reading.table[column].to_numpy() for column in ("image_source", "group"))
        calls = np.mean(
            [scores > threshold for scores, threshold in zip(reading.scores, reading.thresholds, strict=True)], axis=0
        )
        is_half = sources == HALF_SIZE
        # As many of both, so that twice the signed calls' mean is the difference of their shares.
        rise = share_difference_interval(2 * np.where(is_half, calls, -calls), groups)
        interval = block["auroc_interval"]
        found[name] = FalseAlarms(
            block["auroc"],
            None if interval is None else (interval[0], interval[1]),
            block["auroc_sd"],
            len(reading.scores) if reading.is_probability else 0,
            block["n_groups"],
            (float(calls[~is_half].mean()), float(calls[is_half].mean())),
            rise.interval,
        )
    return found
